"""Proposals: listing brings them up to date, approving publishes, and whoever comes late is told why."""

from __future__ import annotations

import json
import threading

import pytest
from flask.testing import FlaskClient

from controlplane.workflow.revisions import Published, Refused
from tests.harness.plane import ADD_CART, GET_CART, PAY, REDIS, Plane


@pytest.fixture
def learned(plane: Plane) -> Plane:
    """Three edges wait for review."""
    plane.learn(GET_CART, PAY, REDIS, count=4)
    return plane


def test_nothing_learned_is_nothing_to_review(api: FlaskClient) -> None:
    assert api.get("/api/v1/proposals").get_json() == {"proposals": [], "next_cursor": None}


def test_listing_proposes_what_was_learned(learned: Plane, api: FlaskClient) -> None:
    (proposal,) = api.get("/api/v1/proposals").get_json()["proposals"]
    assert proposal == {
        "number": 1, "status": "open", "created_ms": learned.now_ms, "base_revision": 0, "edge_count": 3, "preselected_count": 3,
        "decided_ms": None, "decided_by": "", "comment": "", "revision": None,
    }  # fmt: skip


def test_a_proposal_shows_its_rows(learned: Plane, api: FlaskClient) -> None:
    api.get("/api/v1/proposals")
    found = api.get("/api/v1/proposals/1").get_json()
    assert [(edge["row"], edge["destination"], edge["count"]) for edge in found["edges"]] == [
        (1, "shop/cart", 4),
        (2, "shop/pay", 4),
        (3, "shop/redis", 4),
    ]


def test_approving_puts_it_into_force(learned: Plane, api: FlaskClient) -> None:
    api.get("/api/v1/proposals")
    answer = api.post("/api/v1/proposals/1/approve", json={"comment": "as reviewed"})
    assert answer.status_code == 200
    assert answer.get_json() == {
        "revision": 1,
        "services": ["default/frontend", "shop/cart", "shop/pay", "shop/redis"],
        "waiting": [],
        "staged": False,
    }
    assert learned.publisher.policy.revision == 1
    assert all(edge["approved"] for edge in api.get("/api/v1/map").get_json()["edges"])
    event = api.get("/api/v1/audit").get_json()["events"][0]
    assert (event["actor"], event["action"], event["subject"]) == ("alice (via token)", "proposal:approve", "1")
    assert event["detail"] == {"proposal": 1, "edges": 3, "rows": [1, 2, 3], "comment": "as reviewed", "revision": 1}


def test_approving_some_rows_leaves_the_others_for_the_next_proposal(learned: Plane, api: FlaskClient) -> None:
    api.get("/api/v1/proposals")
    api.post("/api/v1/proposals/1/approve", json={"rows": [3, 1, 1]})
    (event,) = api.get("/api/v1/audit").get_json()["events"]
    assert (event["detail"]["rows"], event["detail"]["edges"]) == ([1, 3], 2)
    (waiting, _) = api.get("/api/v1/proposals").get_json()["proposals"]
    assert (waiting["number"], waiting["status"], waiting["edge_count"], waiting["base_revision"]) == (2, "open", 1, 1)
    assert api.get("/api/v1/proposals/2").get_json()["edges"][0]["destination"] == "shop/pay"


def test_a_body_is_not_needed_to_approve_all(learned: Plane, api: FlaskClient) -> None:
    api.get("/api/v1/proposals")
    assert api.post("/api/v1/proposals/1/approve", content_type="application/json").status_code == 200


def test_rows_that_are_not_there_approve_nothing(learned: Plane, api: FlaskClient) -> None:
    api.get("/api/v1/proposals")
    answer = api.post("/api/v1/proposals/1/approve", json={"rows": [1, 4]})
    assert answer.status_code == 422
    assert answer.get_json()["detail"] == "proposal 1 has rows 1 to 3, not 4"
    assert learned.store.revisions(1) == []


def test_rejected_edges_are_not_proposed_again(learned: Plane, api: FlaskClient) -> None:
    api.get("/api/v1/proposals")
    assert api.post("/api/v1/proposals/1/reject", json={"comment": "who is that?"}).status_code == 200
    (proposal,) = api.get("/api/v1/proposals").get_json()["proposals"]
    assert (proposal["status"], proposal["comment"]) == ("rejected", "who is that?")
    assert learned.store.revisions(1) == []


def test_what_was_rejected_can_still_be_approved(learned: Plane, api: FlaskClient) -> None:
    """Minds change, and nobody else would bring these edges up again."""
    api.get("/api/v1/proposals")
    api.post("/api/v1/proposals/1/reject", json={})
    assert api.post("/api/v1/proposals/1/approve", json={"rows": [2]}).get_json()["revision"] == 1
    events = api.get("/api/v1/audit").get_json()["events"]
    assert [(event["action"], event["subject"]) for event in events] == [("proposal:approve", "1"), ("proposal:reject", "1")]
    assert [listed["service"] for listed in api.get("/api/v1/policy").get_json()["services"]] == ["shop/pay"]


@pytest.mark.parametrize("action", ["approve", "reject"])
def test_a_decided_proposal_cannot_be_decided_again(learned: Plane, api: FlaskClient, action: str) -> None:
    """Whoever looked at it before it was superseded is told which one is open now."""
    api.get("/api/v1/proposals")
    learned.learn(ADD_CART)
    api.get("/api/v1/proposals")
    answer = api.post(f"/api/v1/proposals/1/{action}", json={})
    assert answer.status_code == 409
    assert answer.get_json()["detail"] == "proposal 1 is superseded, not open; proposal 2 is"
    assert learned.store.audit(10) == []


@pytest.mark.parametrize("number", ["7", "0", "-1", "one", "9" * 5000, "1.0"])
def test_a_proposal_that_is_not_there(api: FlaskClient, number: str) -> None:
    for answer in (api.get(f"/api/v1/proposals/{number}"), api.post(f"/api/v1/proposals/{number}/approve", json={})):
        assert answer.status_code == 404
        assert answer.get_json()["remedy"]


def test_proposals_are_listed_by_status(learned: Plane, api: FlaskClient) -> None:
    api.get("/api/v1/proposals")
    assert len(api.get("/api/v1/proposals?status=open").get_json()["proposals"]) == 1
    assert api.get("/api/v1/proposals?status=approved").get_json()["proposals"] == []


def test_two_readers_at_once_make_one_proposal(learned: Plane) -> None:
    begin = threading.Barrier(4)

    def read() -> None:
        begin.wait()
        learned.review.refresh_proposal()

    readers = [threading.Thread(target=read) for _ in range(4)]
    for reader in readers:
        reader.start()
    for reader in readers:
        reader.join()
    assert [proposal.status for proposal in learned.store.proposals(None, 10)] == ["open"]


def test_an_approval_that_lost_a_race_takes_nothing_away(learned: Plane) -> None:
    """Two people approve at once, by two control planes: the second is refused, and the first one's rules stay."""
    learned.review.refresh_proposal()
    stale = learned.publisher.policy
    assert isinstance(learned.review.approve(1, "alice", rows=[1]), Published)
    learned.publisher._in_force = type(learned.publisher._in_force)(stale, learned.publisher.topology)
    number = learned.store.proposals("open", 1)
    assert number == []
    with learned.store.transaction() as transaction:
        late = transaction.add_proposal(0, learned.store.proposals(None, 1)[0].document, 1)
    outcome = learned.review.approve(late.number, "bob", rows=[2])
    assert isinstance(outcome, Refused)
    assert "published meanwhile" in outcome.reason
    assert learned.store.active_revision() == 1
    assert learned.publisher.policy.revision == 1
    assert isinstance(learned.review.approve(late.number, "bob", rows=[2]), Published)
    rules = {str(name): len(listed.rules) for name, listed in learned.publisher.policy.services.items() if listed.rules}
    assert rules == {"shop/cart": 1, "shop/pay": 1}


def test_the_images_that_used_an_edge_are_shown_and_the_one_that_it_came_with(plane: Plane, api: FlaskClient) -> None:
    plane.now_ms = 9 * 86_400_000
    old, new = "sha256:" + "0" * 64, "sha256:" + "1" * 64
    plane.learn(GET_CART, image=old, seen_ms=1_000)
    plane.learn(GET_CART, PAY, image=new, seen_ms=5 * 86_400_000)
    api.get("/api/v1/proposals")
    found = {edge["destination"]: edge["samples"] for edge in api.get("/api/v1/proposals/1").get_json()["edges"]}
    assert [(use["digest"], use["first_seen_ms"]) for use in found["shop/cart"]["images"]] == [
        (old, 1_000), (new, 5 * 86_400_000),
    ]  # fmt: skip
    assert found["shop/cart"]["came_with"] == ""
    assert (found["shop/pay"]["came_with"], found["shop/pay"]["images"][0]["last_day_ms"]) == (new, 5 * 86_400_000)
    drawn = api.get("/api/v1/map/picture?format=json").get_json()["content"]
    images = {edge["destination"]: [*map(tuple, map(dict.values, edge["images"]))] for edge in json.loads(drawn)["edges"]}
    assert images == {"shop/cart": [(old, 1_000), (new, 5 * 86_400_000)], "shop/pay": [(new, 5 * 86_400_000)]}
