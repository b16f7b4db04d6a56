"""The map is followed live, over a real listener: whole when something changed, not at all when nothing did."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing, contextmanager
from typing import Any

import pytest
from flask.testing import FlaskClient

from controlplane.api.listen import ApiServer
from controlplane.settings import parse_listen
from controlplane.web.app import create_console
from controlplane.web.guard import COOKIE
from controlplane.web.sessions import Sessions
from controlplane.web.tails import MAX_OPEN, Kind, Tails
from tests.harness.plane import GET_CART, REDIS, Plane


@pytest.fixture
def tails() -> Tails:
    return Tails()


@pytest.fixture
def server(plane: Plane, sessions: Sessions, tails: Tails) -> Iterator[ApiServer]:
    """The console on a port."""
    made = ApiServer(create_console(plane.services(), sessions, None, tails), parse_listen("127.0.0.1:0", "test"))
    yield made
    tails.stop()
    made.close()


@contextmanager
def asked(server: ApiServer, key: str, path: str, **headers: str) -> Iterator[http.client.HTTPResponse]:
    """An answer that has begun."""
    with closing(http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=20)) as connection:
        connection.request("GET", path, headers={"Cookie": f"{COOKIE}={key}", **headers})
        yield connection.getresponse()


def event(answer: http.client.HTTPResponse) -> tuple[int, dict[str, Any]]:
    """The next picture, and its number."""
    number = 0
    while line := answer.readline().decode().strip("\n"):
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            return number, json.loads(line.removeprefix("data: "))
        elif line.startswith("retry: "):
            answer.readline()
    raise AssertionError("the stream ended")


def test_what_changed_comes_whole_and_once(plane: Plane, sessions: Sessions, server: ApiServer) -> None:
    """A browser that has the picture is sent it when it is another; one that connects again goes on where it was."""
    plane.learn(GET_CART)
    key = sessions.begin(None)
    with asked(server, key, "/map/data") as first:
        has = int(first.headers["ETag"].strip('"'))
        before = json.loads(first.read())
    with asked(server, key, f"/map/live?after={has}") as stream:
        assert (stream.status, stream.headers["Content-Type"]) == (200, "text/event-stream")
        plane.now_ms += 10_000
        plane.learn(REDIS)
        number, picture = event(stream)
    assert len(picture["links"]) == len(before["links"]) + 1
    with asked(server, key, f"/map/live?after={has}", **{"Last-Event-ID": str(number)}) as again:
        plane.now_ms += 10_000
        plane.violate(GET_CART)
        assert {link["state"] for link in event(again)[1]["links"]} == {"denied", "learned"}


def test_only_the_view_that_is_looked_at_is_followed(plane: Plane, sessions: Sessions, server: ApiServer) -> None:
    plane.learn(GET_CART, REDIS)
    with asked(server, sessions.begin(None), "/map/live?focus=shop/redis") as stream:
        _, picture = event(stream)
    assert {node["id"] for node in picture["nodes"]} == {"shop/cart", "shop/redis"}


def test_maps_take_no_room_from_the_log_and_have_a_bound(plane: Plane, sessions: Sessions, tails: Tails, server: ApiServer) -> None:
    key = sessions.begin(None)
    taken = [tails.begin(Kind.MAP, 0, lambda after: ((), after)) for _ in range(MAX_OPEN)]
    assert None not in taken
    with asked(server, key, "/map/live") as refused:
        assert refused.status == 204
    with asked(server, key, "/blocked/tail") as followed:
        assert followed.status == 200
    for stream in taken:
        assert stream is not None
        stream.close()


def test_whoever_signs_out_is_sent_no_more(plane: Plane, sessions: Sessions, server: ApiServer) -> None:
    key = sessions.begin(None)
    with asked(server, key, "/map/live") as stream:
        event(stream)
        sessions.end(key)
        assert stream.read().strip() == b""


@pytest.mark.parametrize("query", ["find=state:nothing", "after=-1", "proposal=9", "hops=9"])
def test_a_view_that_cannot_be_is_told_at_once(browser: FlaskClient, query: str) -> None:
    assert browser.get(f"/map/live?{query}").status_code in {400, 404, 422}
