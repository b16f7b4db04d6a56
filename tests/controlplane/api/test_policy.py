"""Revisions: shown, compared and rolled back."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from controlplane.policy.objects import Standing, State
from tests.harness.plane import ADD_CART, GET_CART, REDIS, Plane


@pytest.fixture
def revised(plane: Plane) -> Plane:
    """Two revisions: the cart's first method, then its second and redis."""
    for edges in ((GET_CART,), (ADD_CART, REDIS)):
        plane.learn(*edges)
        proposal = plane.review.refresh_proposal()
        assert proposal is not None
        plane.review.approve(proposal.number, "alice", "reviewed")
    return plane


def test_before_the_first_there_is_the_empty_policy(api: FlaskClient) -> None:
    assert api.get("/api/v1/policy").get_json() == {
        "revision": 0, "active": True, "created_ms": None, "author": "", "note": "", "service_count": 0, "rule_count": 0,
        "proved": {"proven": 0, "failed": 0, "not_tried": 0, "open": 0},
        "services": [],
    }  # fmt: skip
    assert api.get("/api/v1/policy/revisions").get_json() == {"active": 0, "revisions": [], "next_cursor": None}
    assert api.get("/api/v1/policy/diff").get_json() == {"before": 0, "after": 0, "changes": [], "text": ""}


def test_the_revision_in_force_is_shown(revised: Plane, api: FlaskClient) -> None:
    found = api.get("/api/v1/policy").get_json()
    assert (found["revision"], found["author"], found["note"], found["rule_count"]) == (2, "alice", "reviewed", 2)
    both = [{"method": "POST", "path": "/shop.Cart/Add"}, {"method": "POST", "path": "/shop.Cart/Get"}]
    assert found["services"] == [
        {"service": "shop/cart", "revision": 2, "rules": [{"source": "default/frontend", "port": 7070, "http": both}]},
        {"service": "shop/redis", "revision": 2, "rules": [{"source": "shop/cart", "port": 6379, "http": []}]},
    ]


def test_older_revisions_stay(revised: Plane, api: FlaskClient) -> None:
    found = api.get("/api/v1/policy/revisions/1").get_json()
    assert (found["active"], [listed["service"] for listed in found["services"]]) == (False, ["shop/cart"])
    assert [item["revision"] for item in api.get("/api/v1/policy/revisions").get_json()["revisions"]] == [2, 1]
    assert [item["revision"] for item in api.get("/api/v1/policy/revisions?limit=1").get_json()["revisions"]] == [2]


def test_a_diff_says_what_the_revision_in_force_brought(revised: Plane, api: FlaskClient) -> None:
    found = api.get("/api/v1/policy/diff").get_json()
    assert (found["before"], found["after"]) == (1, 2)
    first = {"method": "POST", "path": "/shop.Cart/Get"}
    second = {"method": "POST", "path": "/shop.Cart/Add"}
    cart = {"service": "shop/cart", "source": "default/frontend", "port": 7070, "change": "changed"}
    redis = {"service": "shop/redis", "source": "shop/cart", "port": 6379, "change": "added"}
    assert found["changes"] == [cart | {"before": [first], "after": [second, first]}, redis | {"before": None, "after": []}]
    assert "+ POST /shop.Cart/Add" in found["text"]


def test_any_two_revisions_can_be_compared(revised: Plane, api: FlaskClient) -> None:
    forth = api.get("/api/v1/policy/diff?before=0&after=2").get_json()["changes"]
    back = api.get("/api/v1/policy/diff?before=2&after=0").get_json()["changes"]
    assert [change["change"] for change in forth] == ["added", "added"]
    assert [change["change"] for change in back] == ["removed", "removed"]


@pytest.mark.parametrize(("query", "where"), [("before=9", "query.before"), ("before=1&after=9", "query.after")])
def test_a_revision_that_is_not_there(revised: Plane, api: FlaskClient, query: str, where: str) -> None:
    answer = api.get(f"/api/v1/policy/diff?{query}")
    assert (answer.status_code, answer.get_json()["where"]) == (404, where)
    assert api.get("/api/v1/policy/revisions/9").status_code == 404
    assert api.post("/api/v1/policy/rollback", json={"revision": 9}).status_code == 404


def test_rolling_back_is_a_new_revision(revised: Plane, api: FlaskClient) -> None:
    answer = api.post("/api/v1/policy/rollback", json={"revision": 1, "comment": "too much"})
    assert answer.get_json()["revision"] == 3
    assert api.get("/api/v1/policy/diff?before=1&after=3").get_json()["changes"] == []
    event = api.get("/api/v1/audit").get_json()["events"][0]
    assert (event["action"], event["detail"]) == ("policy:rollback", {"to": 1, "comment": "too much", "revision": 3})


def test_rolling_back_to_zero_takes_every_rule_away(revised: Plane, api: FlaskClient) -> None:
    api.post("/api/v1/policy/rollback", json={"revision": 0})
    assert api.get("/api/v1/policy").get_json()["services"] == []


def test_how_policy_objects_stand_is_told_with_the_reason(plane: Plane, api: FlaskClient) -> None:
    """None outside of a cluster."""
    assert api.get("/api/v1/policy/objects").get_json() == {"revision": 0, "objects": []}
    plane.objects = (Standing("shop/cart", "shop/cart", own=True, state=State.CONFLICT, revision=3, reason="edited"),)
    assert api.get("/api/v1/policy/objects").get_json()["objects"] == [
        {
            "object": "shop/cart",
            "service": "shop/cart",
            "own": True,
            "state": "conflict",
            "revision": 3,
            "reason": "edited",
        }
    ]
