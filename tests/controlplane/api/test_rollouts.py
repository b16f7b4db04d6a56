"""Rollouts over the API: how one looks, what can be done with it, and a policy revision that goes in stages."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName
from tests.harness.plane import GET_CART, Plane


@pytest.fixture
def staged(plane: Plane, api: FlaskClient) -> dict[str, Any]:
    """Two sidecars of the cart and one of its caller; a proposal is approved in stages."""
    plane.learn(GET_CART)
    for workload, instance in (("shop/cart", "cart-0"), ("shop/cart", "cart-1"), ("default/frontend", "front-0")):
        plane.sidecar(SidecarRow(workload, instance, connected=True))
    api.get("/api/v1/proposals")
    answer = api.post("/api/v1/proposals/1/approve", json={"staged": True, "share_percent": 30})
    assert answer.status_code == 200, answer.get_json()
    made: dict[str, Any] = answer.get_json()
    return made


def test_a_revision_in_stages_is_not_in_force_yet(plane: Plane, api: FlaskClient, staged: dict[str, Any]) -> None:
    assert (staged["revision"], staged["staged"]) == (1, True)
    assert api.get("/api/v1/policy").get_json()["revision"] == 0
    listed = api.get("/api/v1/rollouts").get_json()["rollouts"]
    assert {(item["service"], item["revision"], item["base"], item["stage"]) for item in listed} == {
        ("shop/cart", 1, 0, "one"), ("default/frontend", 1, 0, "one"),
    }  # fmt: skip
    shown = api.get(f"/api/v1/rollouts/{listed[0]['id']}").get_json()
    assert len(shown["rollouts"]) == 2
    inside = [item["instance"] for item in shown["sidecars"] if item["staged"]]
    assert len(inside) == 2
    assert "front-0" in inside
    marked = [item["instance"] for item in api.get("/api/v1/sidecars").get_json()["sidecars"] if item["rollout"]]
    assert sorted(marked) == sorted(inside)


def test_it_is_paused_resumed_and_stopped(plane: Plane, api: FlaskClient, staged: dict[str, Any]) -> None:
    paused = api.post("/api/v1/rollouts/1/pause", json={})
    assert paused.get_json() == {"detail": "rollout 1 waits in its stage"}
    assert {item["paused_by"] for item in api.get("/api/v1/rollouts").get_json()["rollouts"]} == {"alice (via token)"}
    assert api.post("/api/v1/rollouts/1/resume", json={}).get_json() == {"detail": "rollout 1 goes on"}
    assert api.post("/api/v1/rollouts/1/stop", json={}).get_json() == {"detail": "revision 1 is in force nowhere"}
    assert api.get("/api/v1/rollouts").get_json()["rollouts"] == []
    assert api.post("/api/v1/rollouts/1/stop", json={}).status_code == 409
    assert api.get("/api/v1/rollouts/9").status_code == 404


def test_files_go_in_stages_but_modes_do_not(plane: Plane, api: FlaskClient) -> None:
    plane.sidecar(SidecarRow("shop/cart", "cart-0", connected=True))
    text = "apiVersion: picket.dev/v1alpha1\nkind: TrafficPolicy\nmetadata: {name: cart, namespace: shop}\nspec:\n"
    rules = "  rules:\n  - from: [{workload: default/frontend}]\n    ports: [7070]\n"
    body = {"files": [{"name": "cart.yaml", "text": text + "  mode: audit\n" + rules}], "staged": True}
    refused = api.post("/api/v1/policy/apply", json=body)
    assert refused.status_code == 409
    assert "does not go in stages" in refused.get_json()["detail"]
    body["files"] = [{"name": "cart.yaml", "text": text + rules}]
    made = api.post("/api/v1/policy/apply", json=body).get_json()
    assert (made["revision"], made["staged"]) == (1, True)
    assert plane.publisher.policy.of(ServiceName("shop", "cart")).rules == ()
