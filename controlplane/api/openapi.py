"""The API's description as OpenAPI 3.1, made from the routes and the schemas that they read and write. Says nothing by hand.

Source: https://spec.openapis.org/oas/v3.1.1
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from http import HTTPStatus
from typing import Any

import flask
import msgspec
from werkzeug.routing import Rule

from controlplane import __version__
from controlplane.api.access import PUBLIC_PATHS
from controlplane.api.operations import OPERATIONS, Operation
from controlplane.api.problems import MEDIA_TYPE, Problem
from controlplane.api.reading import read_query
from controlplane.api.requests import Nothing
from controlplane.api.roles import least

_REFERENCE = "#/components/schemas/{name}"
_PARAMETER = re.compile(r"<(?:(?P<kind>[a-z]+):)?(?P<name>[a-z_]+)>")
_SAFE = frozenset({"GET"})
_JSON = frozenset({"application/json", MEDIA_TYPE})
_UNDESCRIBED = frozenset({"HEAD", "OPTIONS"})
#: What any call may end with; further ones by what it takes.
_ALWAYS = (HTTPStatus.BAD_REQUEST, HTTPStatus.UNAUTHORIZED, HTTPStatus.FORBIDDEN, HTTPStatus.MISDIRECTED_REQUEST)
_WRITES = (
    HTTPStatus.CONFLICT, HTTPStatus.REQUEST_ENTITY_TOO_LARGE, HTTPStatus.UNSUPPORTED_MEDIA_TYPE, HTTPStatus.UNPROCESSABLE_ENTITY,
)  # fmt: skip
_INTRODUCTION = (
    "Times are Unix milliseconds. Services are namespace/name, workloads namespace/account. Lists that can grow come in pages: "
    "send next_cursor as cursor to go on. GETs have ETags; send If-None-Match to be told that nothing changed. Writes take an "
    "Idempotency-Key: sent again with the same key, one is done once."
)
_KEY_PARAMETER = {
    "name": "Idempotency-Key", "in": "header", "required": False,
    "description": "1 to 100 printable characters, new for each thing to do; the answer to it is kept for a day.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 100, "pattern": "^[!-~]+$"},
}  # fmt: skip


def blueprint() -> flask.Blueprint:
    """The route."""
    routes = flask.Blueprint("openapi", __name__)

    @routes.get("/openapi.json")
    def show() -> flask.Response:
        read_query(Nothing)
        return flask.Response(msgspec.json.encode(describe(flask.current_app)), content_type="application/json")

    return routes


def describe(app: flask.Flask) -> dict[str, Any]:
    """The whole description. An endpoint without an `Operation` is left out."""
    used = {shape for one in OPERATIONS.values() for shape in (one.query, one.body, *one.answers) if shape is not None}
    shapes: list[type[msgspec.Struct]] = [*sorted(used, key=_name), Problem]
    references, components = msgspec.json.schema_components(shapes, ref_template=_REFERENCE)
    known = {_name(shape): reference for shape, reference in zip(shapes, references, strict=True)}
    paths: dict[str, Any] = {}
    for rule in sorted(app.url_map.iter_rules(), key=lambda rule: rule.rule):
        for method in sorted((rule.methods or set()) - _UNDESCRIBED):
            if (operation := OPERATIONS.get(rule.endpoint)) is not None:
                made = _operation(rule, method, operation, known, components)
                paths.setdefault(_PARAMETER.sub(r"{\g<name>}", rule.rule), {})[method.lower()] = made
    return {
        "openapi": "3.1.0",
        "info": {"title": "Picket", "version": __version__, "description": _INTRODUCTION, "license": {"name": "Apache-2.0"}},
        "security": [{"token": []}],
        "paths": paths,
        "components": {"schemas": components, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
    }


def _operation(
    rule: Rule, method: str, operation: Operation, known: Mapping[str, Any], components: Mapping[str, Any]
) -> dict[str, Any]:
    parameters = [*_path_parameters(rule), *_query_parameters(operation, components)]
    role = least(rule.endpoint)
    made: dict[str, Any] = {
        "operationId": rule.endpoint.replace(".", "_").replace("-", "_"),
        "summary": operation.summary,
        "description": f"Asks for the role {role} or more.",
        "tags": [rule.endpoint.partition(".")[0]],
        "parameters": parameters if method in _SAFE else [*parameters, _KEY_PARAMETER],
        "responses": _responses(rule, method, operation, known),
    }
    if operation.body is not None:
        # A call that changes something and needs nothing more may leave its body out.
        needed = bool(components[_name(operation.body)].get("required"))
        made["requestBody"] = {"required": needed, "content": _content(known[_name(operation.body)])}
    if rule.rule in PUBLIC_PATHS:
        made |= {"security": [], "description": "Asks for no token."}
    return made


def _path_parameters(rule: Rule) -> Iterator[dict[str, Any]]:
    for found in _PARAMETER.finditer(rule.rule):
        shape = {"type": "string"} if found["kind"] == "path" else {"type": "integer", "minimum": 1, "maximum": 10**15 - 1}
        yield {"name": found["name"], "in": "path", "required": True, "schema": shape}


def _query_parameters(operation: Operation, components: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    if operation.query is None:
        return
    described = components[_name(operation.query)]
    for name, shape in described["properties"].items():
        yield {"name": name, "in": "query", "required": name in described["required"], "schema": _without_null(shape)}


def _without_null(shape: Mapping[str, Any]) -> dict[str, Any]:
    """A query's parameter is left out, and never null."""
    either = [one for one in shape.get("anyOf", ()) if one != {"type": "null"}]
    kept = {key: value for key, value in shape.items() if not (key == "default" and value is None)}
    return {**{key: value for key, value in kept.items() if key != "anyOf"}, **either[0]} if len(either) == 1 else kept


def _responses(rule: Rule, method: str, operation: Operation, known: Mapping[str, Any]) -> dict[str, Any]:
    answers = [known[_name(shape)] for shape in operation.answers]
    shape = {"anyOf": answers} if len(answers) > 1 else next(iter(answers), {})
    done = {"description": operation.status.phrase, "content": _content(shape, *operation.media_types)}
    responses: dict[str, Any] = {str(int(operation.status)): done}
    refusals = list(_ALWAYS)
    if method in _SAFE:
        responses["304"] = {"description": "Nothing changed since If-None-Match"}
    else:
        refusals += _WRITES
    if operation.conflicts:
        refusals.append(HTTPStatus.CONFLICT)
    if operation.names or rule.arguments:
        refusals.append(HTTPStatus.NOT_FOUND)
    if rule.rule == "/readyz":
        responses["503"] = done | {"description": "Not serving, with its reasons"}
    else:
        refusals.append(HTTPStatus.SERVICE_UNAVAILABLE)
    problem = {"content": _content(known[_name(Problem)], MEDIA_TYPE)}
    return responses | {str(int(status)): {"description": status.phrase, **problem} for status in sorted(refusals)}


def _content(shape: Mapping[str, Any], *media_types: str) -> dict[str, Any]:
    """The body of each media type; what is no JSON is text."""
    wanted = media_types or ("application/json",)
    return {kind: {"schema": dict(shape) if kind in _JSON else {"type": "string"}} for kind in wanted}


def _name(shape: type[msgspec.Struct]) -> str:
    return shape.__name__
