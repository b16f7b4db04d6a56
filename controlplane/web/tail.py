"""Follows the violation log live: new rows of a query as server-sent events, for the script of the page. Changes nothing."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

import flask
import msgspec
from msgspec import Meta, Struct

from controlplane.api import shapes
from controlplane.api.asked import asked_or_refused, filter_of
from controlplane.api.problems import problem
from controlplane.api.reading import read_query
from controlplane.web.guard import COOKIE, Console, session_of
from controlplane.web.tails import EVENTS, Event, Kind, place_of

#: Rows of one look at the log.
ROWS = 200


class TailQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query line, and after which violation to begin; a browser that connects again says that itself."""

    q: str = ""
    after: Annotated[int, Meta(ge=0, le=2**53)] = 0


def blueprint(console: Console) -> flask.Blueprint:
    """The address."""
    routes = flask.Blueprint("tail", __name__)
    store = console.api.store

    @routes.get("/blocked/tail")
    def follow() -> flask.Response:
        given = read_query(TailQuery)
        wanted = filter_of(asked_or_refused(console.api, given.q))
        key = flask.request.cookies.get(COOKIE, "")

        def read(after: int) -> tuple[Iterable[Event], int]:
            if session_of(console, key) is None:
                raise StopIteration  # signed out, or revoked, meanwhile
            last = store.last_violation_id()
            found = store.violations(replace(wanted, after_id=after or -1), ROWS) if last > after else ()
            events = [Event(one.id, msgspec.json.encode(shapes.violation(one))) for one in found]
            return events, found[-1].id if len(found) == ROWS else max(last, after)

        if flask.request.method == "HEAD":
            return flask.Response(content_type=EVENTS)  # nothing would tell that it is closed
        stream = console.tails.begin(Kind.LOG, place_of(flask.request, given.after), read)
        if stream is None:
            remedy = "load the page again for what is new, or close another page that follows"
            raise problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", "too many follow the log live", remedy=remedy)
        return flask.Response(stream, content_type=EVENTS)

    return routes
