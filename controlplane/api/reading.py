"""Reads request bodies and queries into schemas, and writes schemas out. Refuses what a schema does not name."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from http import HTTPStatus
from typing import TypeVar

import flask
import msgspec

from controlplane.api.problems import ApiProblemError, problem

#: Methods that change nothing.
SAFE_METHODS = frozenset({"GET", "HEAD", "OPTIONS"})
#: The largest body that most routes take.
MAX_BODY_BYTES = 64 * 1024
#: The largest body of those that take files or logs.
MAX_LARGE_BODY_BYTES = 8 * 1024 * 1024
_LARGE = frozenset({"imports.take", "applying.apply", "replay.of_files"})
_AT = re.compile(r"(?s)(.*?)(?: - at `(?:key in )?\$(.*)`)?\Z")
_NUMBER = re.compile(r"[1-9][0-9]{0,14}")
Schema = TypeVar("Schema", bound=msgspec.Struct)


def install(app: flask.Flask) -> None:
    """Bound bodies before anything reads one."""
    app.config["MAX_CONTENT_LENGTH"] = MAX_BODY_BYTES

    @app.before_request
    def bound() -> None:
        if flask.request.endpoint in _LARGE:
            flask.request.max_content_length = MAX_LARGE_BODY_BYTES


def read_body(schema: type[Schema]) -> Schema:
    """The JSON body. A state-changing call without one is read as ``{}``.

    Raises:
        ApiProblemError: not JSON, or not of the schema.
    """
    body = flask.request.get_data(cache=False) or b"{}"
    try:
        return msgspec.json.decode(body, type=schema)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise _unreadable("body", error) from error


def read_query(schema: type[Schema]) -> Schema:
    """The query's parameters, each at most once.

    Raises:
        ApiProblemError: a parameter that the schema does not have, twice the same, or a value out of bounds.
    """
    return read_fields(flask.request.args.lists(), schema, "query")


def read_fields(fields: Iterable[tuple[str, Sequence[str]]], schema: type[Schema], part: str) -> Schema:
    """Named texts, each at most once, from the part of the request that is named; raises as `read_query` does."""
    found: dict[str, str] = {}
    for name, values in fields:
        if len(values) > 1:
            where = f"{part}.{name[:40]}"
            raise problem(HTTPStatus.BAD_REQUEST, "query", "a parameter is there twice", where=where, remedy="give it once")
        found[name] = values[0]
    try:
        return msgspec.convert(found, type=schema, strict=False)
    except msgspec.ValidationError as error:
        raise _unreadable(part, error) from error


def read_number(text: str, what: str) -> int:
    """A number that counts from 1, out of an address.

    Raises:
        ApiProblemError: another text.
    """
    if _NUMBER.fullmatch(text):
        return int(text)
    raise problem(
        HTTPStatus.NOT_FOUND, "missing", f"{text[:40]!r} is not the number of a {what}", where="path", remedy="give a number"
    )


def _unreadable(part: str, error: Exception) -> ApiProblemError:
    said = _AT.match(str(error))
    what, at = (said[1], said[2] or "") if said else (str(error), "")
    remedy = "compare it with the API's description: names, types and bounds"
    named = f"{at.removeprefix('.')[:100]}: " if at else ""
    return problem(HTTPStatus.BAD_REQUEST, part, f"{named}{what[:300]}", where=f"{part}{at[:100]}", remedy=remedy)


def write(document: msgspec.Struct, status: HTTPStatus = HTTPStatus.OK) -> flask.Response:
    """The response that carries a schema's value."""
    return flask.Response(msgspec.json.encode(document), int(status), content_type="application/json")
