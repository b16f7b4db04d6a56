"""What sidecars said against what the policy of then says, over the API and as a command."""

from __future__ import annotations

from flask.testing import FlaskClient

from controlplane.flows.model import EdgeKey
from tests.harness.plane import GET_CART, PAY, Plane

HOUR_MS = 3_600_000


def approve(plane: Plane, api: FlaskClient, *edges: EdgeKey) -> None:
    plane.learn(*edges, seen_ms=plane.now_ms)
    api.get("/api/v1/proposals")
    assert api.post("/api/v1/proposals/1/approve", json={}).status_code == 200


def enforce(api: FlaskClient) -> None:
    assert api.put("/api/v1/modes", json={"mode": "enforce", "all": True}).status_code == 200


def test_each_disagreement_is_told_with_what_decides(plane: Plane, api: FlaskClient) -> None:
    plane.now_ms = 10 * HOUR_MS
    approve(plane, api, GET_CART)
    enforce(api)
    plane.now_ms = 20 * HOUR_MS
    plane.learn(GET_CART, count=5, seen_ms=15 * HOUR_MS)
    plane.violate(PAY, seen_ms=15 * HOUR_MS, count=4)
    plane.learn(PAY, count=2, seen_ms=16 * HOUR_MS)
    plane.violate(GET_CART, seen_ms=17 * HOUR_MS)
    found = api.get("/api/v1/parity").get_json()
    assert (found["agreed"], found["disagreed"], found["complete"]) == (10, 3, True)
    passed, refused = found["disagreements"]
    assert (passed["destination"], passed["count"], passed["mode"], passed["revision"]) == ("shop/pay", 2, "enforce", 1)
    assert passed["reported"] == {"verdict": "allowed", "deny_id": "", "rule": ""}
    assert passed["evaluated"] == {"verdict": "denied", "deny_id": "deny:shop/pay@r0", "rule": ""}
    assert refused["reported"]["deny_id"] == "deny:shop/cart@r1"
    assert refused["evaluated"]["rule"] == "default/frontend -> :7070 POST /shop.Cart/Get"
    assert (refused["first_hour_ms"], refused["direction"]) == (17 * HOUR_MS, "in")


def test_what_happened_while_it_changed_is_counted_and_not_judged(plane: Plane, api: FlaskClient) -> None:
    plane.now_ms = 10 * HOUR_MS
    approve(plane, api, GET_CART)
    plane.learn(PAY, seen_ms=10 * HOUR_MS, count=7)
    plane.now_ms += 60_000
    enforce(api)
    found = api.get("/api/v1/parity").get_json()
    assert (found["agreed"], found["disagreed"]) == (1, 0)
    assert [(one["cause"], one["count"]) for one in found["unjudged"]] == [("changed", 7)]


def test_the_days_are_bounded(plane: Plane, api: FlaskClient) -> None:
    plane.learn(PAY, seen_ms=0)
    plane.now_ms = 40 * 24 * HOUR_MS
    assert api.get("/api/v1/parity?days=39").get_json()["flows"] == 0
    assert api.get("/api/v1/parity?days=41").get_json()["unjudged"][0]["cause"] == "not-kept"
    assert api.get("/api/v1/parity?days=0").status_code == 400
