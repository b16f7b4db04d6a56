"""The log is followed live by as many as there is room for, over a real listener."""

from __future__ import annotations

import http.client
import json
from collections.abc import Iterator
from contextlib import closing

import pytest
from flask.testing import FlaskClient

from controlplane.api.listen import THREADS, ApiServer
from controlplane.settings import parse_listen
from controlplane.web.app import create_console
from controlplane.web.guard import COOKIE
from controlplane.web.sessions import Sessions
from controlplane.web.tails import MAX_OPEN, Event, Kind, Tails
from tests.harness.plane import PAY, REDIS, Plane


@pytest.fixture
def tails() -> Tails:
    return Tails()


@pytest.fixture
def server(plane: Plane, sessions: Sessions, tails: Tails) -> Iterator[ApiServer]:
    """The console on a port."""
    app = create_console(plane.services(), sessions, None, tails)
    made = ApiServer(app, parse_listen("127.0.0.1:0", "test"))
    yield made
    tails.stop()
    made.close()


def follow(
    server: ApiServer, sessions: Sessions, query: str = "", method: str = "GET", **headers: str
) -> http.client.HTTPConnection:
    """An open connection whose answer has begun."""
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=20)
    cookie = {"Cookie": f"{COOKIE}={sessions.begin(None)}"}
    connection.request(method, f"/blocked/tail?{query}", headers=cookie | headers)
    return connection


def events(answer: http.client.HTTPResponse, count: int) -> list[tuple[int, str]]:
    """The next events: where to go on, and the destination."""
    found: list[tuple[int, str]] = []
    number = 0
    while len(found) < count:
        line = answer.readline().decode().strip()
        if line.startswith("id: "):
            number = int(line.removeprefix("id: "))
        elif line.startswith("data: "):
            found.append((number, json.loads(line.removeprefix("data: "))["destination"]))
    return found


def test_new_violations_of_the_query_come_as_they_are_stored(plane: Plane, sessions: Sessions, server: ApiServer) -> None:
    """From where the browser was, also when it connects again."""
    plane.violate(PAY)
    with closing(follow(server, sessions, "q=to:shop/redis&after=1")) as connection:
        answer = connection.getresponse()
        assert answer.headers["Content-Type"] == "text/event-stream"
        plane.violate(PAY._replace(path="/new"))
        plane.violate(REDIS)
        assert events(answer, 1) == [(3, "shop/redis")]
    with closing(follow(server, sessions, "after=0", **{"Last-Event-ID": "1"})) as connection:
        assert events(connection.getresponse(), 2) == [(2, "shop/pay"), (3, "shop/redis")]


def test_there_is_room_for_some_and_pages_are_served_beside_them(sessions: Sessions, server: ApiServer) -> None:
    """Who comes too late is told, and who asks only for what it would be takes no place."""
    assert THREADS > 2 * MAX_OPEN
    for _ in range(MAX_OPEN):
        with closing(follow(server, sessions, method="HEAD")) as asking:
            assert asking.getresponse().status == 200
    open_ones = [follow(server, sessions) for _ in range(MAX_OPEN)]
    try:
        assert [connection.getresponse().status for connection in open_ones] == [200] * MAX_OPEN
        with closing(follow(server, sessions)) as one_more:
            assert one_more.getresponse().status == 503
        with closing(http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=20)) as page:
            page.request("GET", "/sign-in")
            assert page.getresponse().status == 200
    finally:
        for connection in open_ones:
            connection.close()


def test_a_stop_ends_them(sessions: Sessions, server: ApiServer, tails: Tails) -> None:
    with closing(follow(server, sessions)) as connection:
        answer = connection.getresponse()
        assert answer.readline() == b"retry: 2000\n"
        tails.stop()
        assert answer.read() == b"\n"
    assert tails.begin(Kind.LOG, 0, lambda after: ((), after)) is None


def test_whoever_signs_out_follows_no_more(sessions: Sessions, server: ApiServer) -> None:
    connection = http.client.HTTPConnection(server.address.removeprefix("http://"), timeout=20)
    key = sessions.begin(None)
    connection.request("GET", "/blocked/tail", headers={"Cookie": f"{COOKIE}={key}"})
    with closing(connection):
        answer = connection.getresponse()
        sessions.end(key)
        assert answer.read() == b"retry: 2000\n\n"


def test_a_place_is_given_back_once() -> None:
    tails = Tails()
    streams = [tails.begin(Kind.LOG, 0, lambda after: ([Event(7, b"{}")], after)) for _ in range(MAX_OPEN)]
    assert tails.begin(Kind.LOG, 0, lambda after: ((), after)) is None
    first = streams[0]
    assert first is not None
    assert (next(first), next(first)) == (b"retry: 2000\n\n", b"id: 7\ndata: {}\n\n")
    first.close()
    first.close()
    assert tails.begin(Kind.LOG, 0, lambda after: ((), after)) is not None
    assert tails.begin(Kind.LOG, 0, lambda after: ((), after)) is None


@pytest.mark.parametrize(("query", "status"), [("q=port:x", 400), ("after=x", 400), ("new=1", 400)])
def test_what_cannot_be_followed_is_told(browser: FlaskClient, query: str, status: int) -> None:
    assert browser.get(f"/blocked/tail?{query}").status_code == status


def test_nobody_follows_without_a_session(stranger: FlaskClient) -> None:
    assert stranger.get("/blocked/tail").headers["Location"] == "/sign-in"
