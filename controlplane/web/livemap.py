"""Follows the map live: a view of it as server-sent events, whole whenever something in it changed. Changes nothing.

Where there is no room for another, the answer is 204, and the script of the page asks for the picture every few seconds instead.
Source: https://html.spec.whatwg.org/multipage/server-sent-events.html#sse-processing-model
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated

import flask
from msgspec import Meta

from controlplane.api.problems import ApiProblemError
from controlplane.api.reading import read_query
from controlplane.web.atlas import MapQuery, see
from controlplane.web.guard import COOKIE, Console, session_of
from controlplane.web.maps import picture_id, picture_text
from controlplane.web.tails import EVENTS, Event, Kind, place_of

#: A view of a large mesh costs a second: it is made no more often.
LOOK_SECONDS = 3.0


class FollowQuery(MapQuery, frozen=True, forbid_unknown_fields=True):
    """A view, and the picture of it that the browser has (`maps.picture_id`)."""

    after: Annotated[int, Meta(ge=0, le=2**53)] = 0


def blueprint(console: Console) -> flask.Blueprint:
    """The address."""
    routes = flask.Blueprint("livemap", __name__)

    @routes.get("/map/live")
    def follow() -> flask.Response:
        query = read_query(FollowQuery)
        key = flask.request.cookies.get(COOKIE, "")
        looked = time.monotonic()
        if not query.after:  # who has a picture of the view was just sent it; others are told at once what cannot be seen
            see(console.api, query)
            looked -= LOOK_SECONDS

        def read(after: int) -> tuple[Iterable[Event], int]:
            nonlocal looked
            if session_of(console, key) is None:
                raise StopIteration  # signed out, or revoked, meanwhile
            if time.monotonic() - looked < LOOK_SECONDS:
                return (), after
            try:
                body = picture_text(see(console.api, query))
            except ApiProblemError:
                raise StopIteration from None  # its proposal is not there any more
            looked = time.monotonic()
            number = picture_id(body)
            return [Event(number, body)] if number != after else (), number

        if flask.request.method == "HEAD":
            return flask.Response(content_type=EVENTS)  # nothing would tell that it is closed
        stream = console.tails.begin(Kind.MAP, place_of(flask.request, query.after), read)
        if stream is None:
            return flask.Response(status=HTTPStatus.NO_CONTENT)  # which ends following without a failure
        return flask.Response(stream, content_type=EVENTS)

    return routes
