"""Who may call the API, and under which name it is written down."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from controlplane.api.access import PEER_USER
from controlplane.api.app import create_app
from tests.harness.plane import TOKEN, Plane

OWNER = {"Authorization": f"Bearer {TOKEN}", "Host": "localhost:7600"}


@pytest.fixture
def stranger(plane: Plane) -> FlaskClient:
    """A caller who brings nothing."""
    return plane.app().test_client()


@pytest.mark.parametrize("given", ["", "Bearer", "Bearer ", f"Bearer {TOKEN}x", f"Basic {TOKEN}", TOKEN, "Bearer \xe9"])
def test_a_caller_over_tcp_needs_the_token(stranger: FlaskClient, given: str) -> None:
    answer = stranger.get("/api/v1/map", headers={"Authorization": given, "Host": "127.0.0.1:7600"})
    assert answer.status_code == 401
    assert answer.headers["WWW-Authenticate"].startswith("Bearer")
    assert TOKEN not in answer.get_data(as_text=True)


@pytest.mark.parametrize("path", ["/api/v1/map", "/metrics", "/nothing", "/api/v1/proposals/1/approve"])
def test_everything_but_health_needs_the_token(stranger: FlaskClient, path: str) -> None:
    assert stranger.get(path, headers={"Host": "localhost"}).status_code == 401


@pytest.mark.parametrize("path", ["/healthz", "/readyz"])
def test_health_needs_no_token_and_any_name(stranger: FlaskClient, path: str) -> None:
    assert stranger.get(path, headers={"Host": "10.3.4.5:7600"}).status_code == 200


def test_without_a_token_nobody_comes_in_over_tcp(plane: Plane) -> None:
    """A control plane that has no token (it listens on a Unix socket) fails closed where a request came another way."""
    client = create_app(plane.services(token=None)).test_client()
    for given in ("", "Bearer ", "Bearer None"):
        assert client.get("/api/v1/map", headers={"Authorization": given, "Host": "localhost"}).status_code == 401


@pytest.mark.parametrize("host", ["localhost", "localhost:7600", "127.0.0.1:7600", "[::1]:7600", "LOCALHOST.", "mesh.example.org"])
def test_known_names_are_served(stranger: FlaskClient, host: str) -> None:
    assert stranger.get("/api/v1/map", headers={**OWNER, "Host": host}).status_code == 200


@pytest.mark.parametrize(
    "host", ["evil.example", "localhost.evil.example", "0.0.0.0:7600", "localhost:port", "a@localhost", "[::1", ""]
)
def test_other_names_are_refused(stranger: FlaskClient, host: str) -> None:
    """A name that somebody else pointed at this machine (DNS rebinding) is not served, not even with the token."""
    answer = stranger.get("/api/v1/map", headers={**OWNER, "Host": host})
    assert answer.status_code == 421
    assert answer.get_json()["where"] == "Host"


@pytest.mark.parametrize(
    "headers",
    [
        {"Origin": "https://evil.example"},
        {"Origin": "null"},
        {"Origin": "http://localhost:9999"},
        {"Origin": "http://[bad"},
        {"Sec-Fetch-Site": "cross-site"},
        {"Sec-Fetch-Site": "same-site"},
    ],
)
def test_pages_of_other_sites_are_refused(stranger: FlaskClient, headers: dict[str, str]) -> None:
    for path in ("/api/v1/map", "/healthz"):
        assert stranger.get(path, headers={**OWNER, **headers}).status_code == 403


def test_pages_of_the_api_itself_are_served(stranger: FlaskClient) -> None:
    headers = {**OWNER, "Origin": "http://localhost:7600", "Sec-Fetch-Site": "same-origin"}
    assert stranger.get("/api/v1/map", headers=headers).status_code == 200


@pytest.mark.parametrize("media_type", ["text/plain", "application/x-www-form-urlencoded", "multipart/form-data", ""])
def test_what_a_form_can_send_changes_nothing(plane: Plane, stranger: FlaskClient, media_type: str) -> None:
    answer = stranger.put("/api/v1/modes", data=b'{"mode": "learn", "all": true}', headers={**OWNER, "Content-Type": media_type})
    assert answer.status_code == 415
    assert plane.store.modes() == {}


def test_answers_are_not_kept(api: FlaskClient) -> None:
    assert api.get("/api/v1/map").headers["Cache-Control"] == "no-store"


def actor_of(plane: Plane, **call: Any) -> str:
    """The name under which a call is written down."""
    client = plane.app().test_client()
    answer = client.put("/api/v1/modes", json={"mode": "audit", "services": ["frontend"]}, **call)
    assert answer.status_code == 200
    return plane.store.audit(1)[0].actor


def test_a_name_that_came_with_the_token_is_a_claim(plane: Plane) -> None:
    assert actor_of(plane, headers={**OWNER, "X-Picket-Actor": "alice"}) == "alice (via token)"
    assert actor_of(plane, headers=OWNER) == "unnamed (via token)"


def test_the_user_of_a_unix_socket_is_believed_over_its_claim(plane: Plane) -> None:
    assert actor_of(plane, environ_overrides={PEER_USER: "bob"}, headers={"X-Picket-Actor": "alice"}) == "bob"


@pytest.mark.parametrize("name", [" ", "a" * 65, "alice\x1b[2J", "ali\xe9ce"])
def test_a_claim_that_is_no_name_is_refused(plane: Plane, stranger: FlaskClient, name: str) -> None:
    headers = {**OWNER, "X-Picket-Actor": name}
    answer = stranger.put("/api/v1/modes", json={"mode": "audit", "all": True}, headers=headers)
    assert (answer.status_code, answer.get_json()["where"]) == (400, "X-Picket-Actor")
    assert plane.store.audit(1) == []


def test_a_header_cannot_make_a_unix_peer(stranger: FlaskClient) -> None:
    for name in ("picket.peer_user", "Picket-Peer-User", "PICKET_PEER_USER"):
        assert stranger.get("/api/v1/map", headers={"Host": "localhost", name: "root"}).status_code == 401
