"""The API's description as pages, each operation with a form that calls it as whoever is signed in. Has no right of its own."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any
from urllib.parse import quote

import flask
import msgspec
from werkzeug.test import TestResponse

from controlplane.api.access import CALLER, PEER_USER
from controlplane.api.app import create_app
from controlplane.api.openapi import describe
from controlplane.api.problems import problem
from controlplane.web.guard import Console, who

#: Of an answer that is longer only so much is shown.
MAX_SHOWN = 200_000


@dataclass(frozen=True, slots=True)
class Described:
    """One operation: ``raw`` is what the description says of it."""

    name: str
    method: str
    path: str
    raw: dict[str, Any]

    def parameters(self, place: str) -> list[dict[str, Any]]:
        """Those in the path or in the query."""
        return [one for one in self.raw["parameters"] if one["in"] == place]

    @property
    def body(self) -> str:
        """The name of the schema of what it takes, if anything."""
        if "requestBody" not in self.raw:
            return ""
        reference: str = self.raw["requestBody"]["content"]["application/json"]["schema"]["$ref"]
        return reference.rpartition("/")[2]


@dataclass(frozen=True, slots=True)
class Answer:
    """What a call was answered."""

    status: int
    phrase: str
    headers: list[tuple[str, str]]
    text: str


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("reference", __name__)
    api = create_app(console.api)
    description = describe(api)
    described = {
        raw["operationId"]: Described(raw["operationId"], method.upper(), path, raw)
        for path, methods in description["paths"].items()
        for method, raw in methods.items()
    }

    def found(name: str) -> Described:
        operation = described.get(name)
        if operation is None:
            raise problem(HTTPStatus.NOT_FOUND, "missing", "there is no such operation", where="path", remedy="see the API's page")
        return operation

    def page(operation: Described, form: dict[str, str], answer: Answer | None) -> str:
        schemas = description["components"]["schemas"]
        shapes = {name: _pretty(schemas[name]) for name in _used(schemas, operation.raw)}
        body = form.get("body", _pretty(_example(schemas[operation.body])) if operation.body else "")
        return flask.render_template(
            "operation.html", operation=operation, shapes=shapes, form=form, body=body, answer=answer, key=flask.g.session.form_key
        )

    @routes.get("/reference")
    def several() -> str:
        by_tag: dict[str, list[Described]] = {}
        for operation in described.values():
            by_tag.setdefault(operation.raw["tags"][0], []).append(operation)
        return flask.render_template("reference.html", by_tag=by_tag, introduction=description["info"]["description"])

    @routes.get("/reference/<name>")
    def one(name: str) -> str:
        return page(found(name), {}, None)

    @routes.post("/reference/<name>")
    def call(name: str) -> str:
        operation, form = found(name), flask.request.form.to_dict()
        path = operation.path
        for parameter in operation.parameters("path"):
            path = path.replace(f"{{{parameter['name']}}}", quote(form.get(f"path.{parameter['name']}", "")))
        given = {one["name"]: form.get(f"query.{one['name']}", "") for one in operation.parameters("query")}
        query = {parameter: value for parameter, value in given.items() if value}
        session = flask.g.session
        caller = {PEER_USER: who(session)} if session.user is None else {CALLER: session.user}
        # Flask's own way to call an application without a socket; no header that the browser sent goes with it.
        response = api.test_client().open(
            path, method=operation.method, query_string=query, data=form.get("body") if operation.body else None,
            content_type="application/json" if operation.method != "GET" else None, environ_overrides=caller,
        )  # fmt: skip
        return page(operation, form, _answer(response))

    return routes


def _answer(response: TestResponse) -> Answer:
    try:
        text = _pretty(msgspec.json.decode(response.get_data()))
    except msgspec.DecodeError:
        text = response.get_data(as_text=True)
    if len(text) > MAX_SHOWN:
        text = f"{text[:MAX_SHOWN]}\n(and more)"
    return Answer(response.status_code, HTTPStatus(response.status_code).phrase, list(response.headers.items()), text)


def _pretty(document: object) -> str:
    return msgspec.json.format(msgspec.json.encode(document), indent=2).decode()


def _example(schema: dict[str, Any]) -> dict[str, Any]:
    """The fields that have to be there, each with nothing in it yet."""
    empty = {"string": "", "integer": 0, "boolean": False, "array": [], "object": {}}
    return {name: empty.get(schema["properties"][name].get("type", "string"), "") for name in schema.get("required", ())}


def _used(schemas: dict[str, Any], document: object) -> list[str]:
    """The schemas that a part of the description names, and those that they name, in this order."""
    named: list[str] = []
    waiting: list[Any] = [document]
    while waiting:
        for reference in _references(waiting.pop(0)):
            name = reference.rpartition("/")[2]
            if name not in named:
                named.append(name)
                waiting.append(schemas[name])
    return named


def _references(document: object) -> Iterable[str]:
    match document:
        case {"$ref": str(reference)}:
            yield reference
        case dict():
            for value in document.values():
                yield from _references(value)
        case list():
            for value in document:
                yield from _references(value)
