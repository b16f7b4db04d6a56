"""A write with a key is done once, however often it is sent."""

from __future__ import annotations

import threading

import pytest
from flask.testing import FlaskClient

from controlplane.store.stored import Prunable
from controlplane.workflow.calls import MAX_EACH, Calls, Ended, New
from tests.harness.plane import TOKEN, Plane

AUDIT = {"mode": "audit", "services": ["cart"]}
KEY = {"Idempotency-Key": "one"}


def count(plane: Plane) -> int:
    return len(plane.store.audit(100))


def test_it_is_done_once_and_answered_alike(plane: Plane, api: FlaskClient) -> None:
    first = api.put("/api/v1/modes", json=AUDIT, headers=KEY)
    before = count(plane)
    again = api.put("/api/v1/modes", json=AUDIT, headers=KEY)
    assert (again.status_code, again.data, again.content_type) == (first.status_code, first.data, first.content_type)
    assert again.headers["Idempotency-Replayed"] == "true"
    assert "Idempotency-Replayed" not in first.headers
    assert count(plane) == before


def test_a_refusal_is_answered_alike_too(api: FlaskClient) -> None:
    first = api.post("/api/v1/proposals/9/approve", json={}, headers=KEY)
    again = api.post("/api/v1/proposals/9/approve", json={}, headers=KEY)
    assert (first.status_code, again.status_code, again.data) == (404, 404, first.data)


@pytest.mark.parametrize(
    ("path", "body"), [("/api/v1/modes", AUDIT | {"comment": "x"}), ("/api/v1/leases", AUDIT), ("/api/v1/modes?x=1", AUDIT)]
)
def test_another_call_with_the_same_key_is_refused(api: FlaskClient, path: str, body: dict[str, object]) -> None:
    api.put("/api/v1/modes", json=AUDIT, headers=KEY)
    assert api.put(path, json=body, headers=KEY).status_code == 422


def test_a_key_is_its_callers_own(plane: Plane, api: FlaskClient) -> None:
    api.put("/api/v1/modes", json=AUDIT, headers=KEY)
    other = plane.app().test_client()
    headers = KEY | {"Authorization": f"Bearer {TOKEN}", "X-Picket-Actor": "bob", "Host": "localhost"}
    assert other.put("/api/v1/modes", json=AUDIT | {"mode": "learn"}, headers=headers).status_code == 200


def test_a_secret_is_shown_once_and_not_kept(plane: Plane, api: FlaskClient) -> None:
    body = {"workload": "cart"}
    assert api.post("/api/v1/tokens", json=body, headers=KEY).status_code == 201
    assert api.post("/api/v1/tokens", json=body, headers=KEY).status_code == 409
    assert len(plane.tokens) == 1
    kept = b"".join(file.read_bytes() for file in plane.directory.glob("picket.db*"))
    assert b"alice" in kept, "what the last call wrote, which may be in the log of SQLite alone"
    assert b"picket-join-secret" not in kept


def test_one_that_is_under_way_is_not_begun_again(plane: Plane, api: FlaskClient) -> None:
    entered, leave = threading.Event(), threading.Event()
    app = plane.app()

    def slow() -> str:
        entered.set()
        assert leave.wait(60)
        return "done"

    app.add_url_rule("/slow", "slow", slow, methods=["POST"])
    headers = KEY | {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}
    first: list[int] = []
    thread = threading.Thread(target=lambda: first.append(app.test_client().post("/slow", json={}, headers=headers).status_code))
    thread.start()
    try:
        assert entered.wait(60)
        assert app.test_client().post("/slow", json={}, headers=headers).status_code == 409
    finally:
        leave.set()
        thread.join()
    assert first == [200]
    assert app.test_client().post("/slow", json={}, headers=headers).data == b"done"


def test_our_own_failure_gives_the_key_back(plane: Plane) -> None:
    app, fails = plane.app(), [True]

    def broken() -> str:
        if fails:
            raise RuntimeError(fails.pop())
        return "done"

    app.add_url_rule("/broken", "broken", broken, methods=["POST"])
    headers = KEY | {"Authorization": f"Bearer {TOKEN}", "Host": "localhost"}
    assert app.test_client().post("/broken", json={}, headers=headers).status_code == 500
    assert app.test_client().post("/broken", json={}, headers=headers).data == b"done"


@pytest.mark.parametrize("key", ["", " ", "a b", "x" * 101, "käse"])
def test_what_is_no_key_is_refused(plane: Plane, api: FlaskClient, key: str) -> None:
    assert api.put("/api/v1/modes", json=AUDIT, headers={"Idempotency-Key": key}).status_code == 400
    assert count(plane) == 0


def test_keys_are_bounded_and_go_by_age(plane: Plane) -> None:
    calls = Calls(plane.store, lambda: plane.now_ms)
    for number in range(MAX_EACH + 2):
        plane.now_ms += 1
        assert calls.begin("alice", str(number), "f") == New()
        calls.end("alice", str(number), 200, "text/plain", b"x")
    assert calls.begin("alice", str(MAX_EACH + 1), "f") == Ended(200, "text/plain", b"x")
    assert calls.begin("alice", "0", "f") == New()
    assert plane.store.prune(Prunable.CALLS, plane.now_ms + 1, 10_000) == MAX_EACH
