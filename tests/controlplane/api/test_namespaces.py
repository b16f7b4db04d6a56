"""A role in some namespaces alone: whatever it asks for outside of them is refused, by every route that changes something."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from controlplane.api.roles import BY_NAMESPACE, LEAST
from controlplane.policy.roles import Role
from controlplane.store.stored import SidecarRow
from tests.harness.plane import GET_CART, PAY, REDIS, Plane

OPS_REDIS = REDIS._replace(source="shop/cart", destination="ops/redis")
FILE = """
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: redis, namespace: NAMESPACE}
spec: {}
"""


@pytest.fixture
def busy(plane: Plane) -> Plane:
    """Edges toward two namespaces wait for review; an exception, a rollout and an approved edge are in both."""
    plane.learn(PAY, OPS_REDIS)
    plane.review.refresh_proposal()
    plane.review.approve(1, "alice", rows=[1, 2])
    plane.learn(GET_CART, OPS_REDIS._replace(source="default/frontend"))
    plane.review.refresh_proposal()
    for workload in ("shop/cart", "ops/redis"):
        plane.sidecar(SidecarRow(workload, "one", connected=True))
    owner = plane.app().test_client()
    owner.environ_base |= {"HTTP_AUTHORIZATION": f"Bearer {plane.services().token}", "HTTP_HOST": "localhost"}
    for destination in ("shop/redis", "ops/redis"):
        body = {"source": "shop/pay", "destination": destination, "port": 6379, "seconds": 60, "reason": "x"}
        assert owner.post("/api/v1/break-glass", json=body).status_code == 200
    for service in ("shop/cart", "ops/redis"):
        assert owner.post("/api/v1/rollouts", json={"services": [service], "override": "a test of scopes"}).status_code == 200
    return plane


def scoped(plane: Plane, role: Role, *namespaces: str) -> FlaskClient:
    client = plane.app().test_client()
    client.environ_base |= {"HTTP_AUTHORIZATION": f"Bearer {plane.token('bob', role, *namespaces)}", "HTTP_HOST": "localhost"}
    return client


def row_of(plane: Plane, destination: str) -> int:
    proposal = (
        plane.app()
        .test_client()
        .get("/api/v1/proposals/2", headers={"Authorization": f"Bearer {plane.services().token}", "Host": "localhost"})
        .get_json()
    )
    return next(int(row["row"]) for row in proposal["edges"] if row["destination"] == destination)


def grant(destination: str) -> dict[str, Any]:
    return {"source": "shop/pay", "destination": destination, "port": 1, "seconds": 60, "reason": "x"}


#: Each writing endpoint that a scoped approver may call: the call inside of shop, and the same outside.
CALLS: dict[str, tuple[str, str, Any, Any]] = {
    "modes.change": ("PUT", "modes", {"mode": "audit", "services": ["shop/pay"]}, {"mode": "audit", "services": ["ops/redis"]}),
    "modes.release": ("POST", "modes/release", {"service": "shop/pay"}, {"service": "ops/redis"}),
    "proofs.ask": ("POST", "proofs", {"services": ["shop/pay"]}, {"services": ["ops/redis"]}),
    "break-glass.begin": ("POST", "break-glass", grant("shop/cart"), grant("ops/redis")),
    "rollouts.start": (
        "POST", "rollouts", {"services": ["shop/pay"], "override": "x"}, {"services": ["frontend"], "override": "x"},
    ),
    "leases.renew": (
        "PUT", "leases", {"source": "default/frontend", "destination": "shop/pay", "port": 443},
        {"source": "shop/cart", "destination": "ops/redis", "port": 6379},
    ),
    "asks.ask": (
        "POST", "asks", {"source": "shop/cart", "destination": "ops/redis", "port": 1, "reason": "x"},
        {"source": "frontend", "destination": "ops/redis", "port": 1, "reason": "x"},
    ),
}  # fmt: skip


@pytest.mark.parametrize("endpoint", CALLS)
def test_what_is_inside_may_be_asked_for_and_what_is_outside_not(busy: Plane, endpoint: str) -> None:
    client = scoped(busy, Role.APPROVER, "shop")
    method, path, inside, outside = CALLS[endpoint]
    before = len(busy.store.audit(100))
    assert client.open(f"/api/v1/{path}", method=method, json=outside).status_code == 403
    assert len(busy.store.audit(100)) == before
    assert client.open(f"/api/v1/{path}", method=method, json=inside).status_code not in {401, 403}


@pytest.mark.parametrize("act", ["approve", "reject"])
def test_rows_of_a_proposal_are_decided_in_ones_own_namespaces(busy: Plane, act: str) -> None:
    client = scoped(busy, Role.APPROVER, "shop")
    inside, outside = row_of(busy, "shop/cart"), row_of(busy, "ops/redis")
    for rows in ([outside], [inside, outside]):
        refused = client.post(f"/api/v1/proposals/2/{act}", json={"rows": rows})
        assert refused.status_code == 403
        assert "ops/redis" in refused.get_json()["detail"]
    assert client.post(f"/api/v1/proposals/2/{act}", json={}).status_code == 403
    assert client.post(f"/api/v1/proposals/2/{act}", json={"rows": [inside]}).status_code == 200


@pytest.mark.parametrize("path", ["break-glass/{}/end", "rollouts/{}/rollback", "rollouts/{}/stop", "rollouts/{}/pause"])
def test_what_is_under_way_is_ended_in_ones_own_namespaces(busy: Plane, path: str) -> None:
    client = scoped(busy, Role.APPROVER, "shop")
    assert client.post(f"/api/v1/{path.format(2)}", json={}).status_code == 403
    assert client.post(f"/api/v1/{path.format(1)}", json={}).status_code == 200


def test_a_rollout_goes_on_by_who_has_its_namespace(busy: Plane) -> None:
    client = scoped(busy, Role.APPROVER, "shop")
    assert client.post("/api/v1/rollouts/1/pause", json={}).status_code == 200
    assert client.post("/api/v1/rollouts/2/resume", json={}).status_code == 403
    assert client.post("/api/v1/rollouts/1/resume", json={}).status_code == 200


def test_a_scope_never_covers_the_whole_mesh(busy: Plane) -> None:
    client = scoped(busy, Role.ADMIN, "shop", "ops", "default", "outside")
    assert client.post("/api/v1/policy/rollback", json={"revision": 1}).status_code == 403
    assert client.post("/api/v1/users", json={"name": "eve", "role": "admin"}).status_code == 403
    assert client.post("/api/v1/access-tokens", json={"user": "bob"}).status_code == 403
    assert client.post("/api/v1/tokens", json={"workload": "shop/cart"}).status_code == 403


def test_every_other_writing_endpoint_refuses_whoever_has_some_namespaces_alone(busy: Plane) -> None:
    """Also one that is made tomorrow, unless it says that it asks for the namespace."""
    client = scoped(busy, Role.ADMIN, "shop")
    for rule in busy.app().url_map.iter_rules():
        for method in (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            if rule.endpoint not in BY_NAMESPACE:
                path = rule.rule.replace("<number>", "1").replace("<path:name>", "shop/cart")
                assert client.open(path, method=method, json={}).status_code == 403, rule.endpoint


def test_what_asks_for_the_namespace_is_an_endpoint() -> None:
    ended = {"break-glass.end", "rollouts.pause", "rollouts.resume", "rollouts.roll_back", "rollouts.stop"}
    tested = {*CALLS, *ended, "proposals.approve", "proposals.reject", "policy.rollback", "applying.apply"}
    # A remark, a replay and what is noted about an incident change nothing that is enforced.
    harmless = {"proposals.comment", "replay.of_files", *(f"incidents.{act}" for act in ("assign", "close", "note", "reopen"))}
    assert tested | harmless == BY_NAMESPACE <= set(LEAST)


def test_files_are_applied_in_ones_own_namespaces(busy: Plane) -> None:
    client = scoped(busy, Role.APPROVER, "shop")
    outside = {"files": [{"name": "a.yaml", "text": FILE.replace("NAMESPACE", "ops")}]}
    answer = client.post("/api/v1/policy/apply", json=outside)
    assert answer.status_code == 403, answer.get_json()
    inside = {"files": [{"name": "a.yaml", "text": FILE.replace("NAMESPACE", "shop")}]}
    assert client.post("/api/v1/policy/apply", json=inside | {"prune": True}).status_code == 403
    assert client.post("/api/v1/policy/apply", json=inside).status_code == 200


def test_a_scope_ends_with_its_request(busy: Plane) -> None:
    """The next request on the same thread may be somebody else's."""
    app = busy.app()
    bob = {"Authorization": f"Bearer {busy.token('bob', Role.APPROVER, 'shop')}", "Host": "localhost"}
    owner = {"Authorization": f"Bearer {busy.services().token}", "Host": "localhost"}
    body = {"mode": "audit", "services": ["ops/redis"]}
    for _ in range(2):
        assert app.test_client().put("/api/v1/modes", json=body, headers=bob).status_code == 403
        assert app.test_client().put("/api/v1/modes", json=body, headers=owner).status_code == 200


def test_a_token_may_no_more_than_its_user_by_now(busy: Plane) -> None:
    client = scoped(busy, Role.APPROVER, "shop", "ops")
    owner = {"Authorization": f"Bearer {busy.services().token}", "Host": "localhost"}
    change = {"name": "bob", "role": "approver", "namespaces": ["ops"]}
    assert busy.app().test_client().put("/api/v1/users", json=change, headers=owner).status_code == 200
    assert client.put("/api/v1/modes", json={"mode": "audit", "services": ["shop/pay"]}).status_code == 403
    assert client.put("/api/v1/modes", json={"mode": "audit", "services": ["ops/redis"]}).status_code == 200
