"""What a list would have done with stored flows, over the API."""

from __future__ import annotations

from flask.testing import FlaskClient

from controlplane.flows.model import Verdict
from tests.harness.plane import GET_CART, PAY, REDIS, Plane

DAY_MS = 86_400_000


def test_the_list_in_force_a_proposal_and_a_revision_are_replayed(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART, PAY, count=3)
    api.get("/api/v1/proposals")
    now = api.get("/api/v1/replay").get_json()
    assert (now["flows"], now["allowed"], now["denied"], now["complete"]) == (2, 0, 6, True)
    assert (api.get("/api/v1/proposals/1/replay").get_json()["denied"], plane.store.active_revision()) == (0, 0)
    assert api.post("/api/v1/proposals/1/approve", json={"rows": [1]}).status_code == 200
    plane.learn(REDIS)
    found = api.get("/api/v1/policy/revisions/1/replay").get_json()
    assert found["hours"] == [{"at_ms": 0, "allowed": 3, "denied": 4}]
    assert {(one["destination"], one["count"], one["reported"]) for one in found["refusals"]} == {
        ("shop/pay", 3, "allowed"), ("shop/redis", 1, "allowed"),
    }  # fmt: skip


FILE = """
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: pay, namespace: shop}
spec:
  rules:
  - {from: [{workload: default/frontend}], ports: [443]}
"""


def test_rows_of_a_proposal_are_replayed_as_if_they_alone_were_approved(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART, PAY, REDIS)
    api.get("/api/v1/proposals")
    assert api.get("/api/v1/proposals/1/replay?rows=1,3").get_json()["denied"] == 1
    assert api.get("/api/v1/proposals/1/replay?rows=9").status_code == 422
    assert api.get("/api/v1/proposals/1/replay?rows=a").status_code == 400


def test_files_are_replayed_as_if_they_were_applied_and_nothing_changes(plane: Plane, api: FlaskClient) -> None:
    plane.learn(GET_CART, REDIS, count=3)
    api.get("/api/v1/proposals")
    assert api.post("/api/v1/proposals/1/approve", json={}).status_code == 200
    plane.learn(PAY, count=2)
    files = [{"name": "pay.yaml", "text": FILE}]
    assert api.get("/api/v1/replay").get_json()["denied"] == 2
    assert api.post("/api/v1/replay", json={"files": files}).get_json()["denied"] == 0
    pruned = api.post("/api/v1/replay", json={"files": files, "prune": True}).get_json()
    assert {one["destination"] for one in pruned["refusals"]} == {"shop/cart", "shop/redis"}
    assert (plane.store.active_revision(), api.get("/api/v1/replay").get_json()["denied"]) == (1, 2)


def test_files_that_could_not_be_applied_are_refused(plane: Plane, api: FlaskClient) -> None:
    for text, status in (("nothing: here", 422), (FILE.replace("name: pay", "name: gone"), 404), (FILE.replace("443", "0"), 422)):
        answer = api.post("/api/v1/replay", json={"files": [{"name": "pay.yaml", "text": text}]})
        assert answer.status_code == status
    assert api.post("/api/v1/replay", json={"files": []}).status_code == 400


def test_what_was_denied_counts_and_what_is_older_does_not(plane: Plane, api: FlaskClient) -> None:
    plane.now_ms = 10 * DAY_MS
    plane.learn(PAY, seen_ms=2 * DAY_MS)
    plane.violate(REDIS, Verdict.DENIED, seen_ms=9 * DAY_MS, count=2)
    found = api.get("/api/v1/replay").get_json()
    assert [(one["destination"], one["count"], one["reported"]) for one in found["refusals"]] == [("shop/redis", 2, "denied")]
    assert api.get("/api/v1/replay?days=9").get_json()["denied"] == 3


def test_what_is_not_there_is_told(plane: Plane, api: FlaskClient) -> None:
    for path in ("proposals/9/replay", "policy/revisions/9/replay"):
        assert api.get(f"/api/v1/{path}").status_code == 404
    assert api.get("/api/v1/replay?days=0").status_code == 400
