"""Each endpoint asks for a role, and a named token gets in with its own."""

from __future__ import annotations

from typing import Any

import pytest
from flask.testing import FlaskClient

from controlplane.api.roles import LEAST, least
from controlplane.policy.roles import Role
from tests.harness.plane import Plane


def test_every_endpoint_declares_its_role_and_nothing_else_is_declared(plane: Plane) -> None:
    assert set(LEAST) == {rule.endpoint for rule in plane.app().url_map.iter_rules()}


def test_an_endpoint_that_declares_none_asks_for_admin() -> None:
    assert least("new.thing") is Role.ADMIN


def test_whatever_changes_something_asks_for_more_than_viewer(plane: Plane) -> None:
    for rule in plane.app().url_map.iter_rules():
        if (rule.methods or set()) - {"GET", "HEAD", "OPTIONS"}:
            assert least(rule.endpoint) is not Role.VIEWER, rule


def named(plane: Plane, role: Role, *namespaces: str) -> FlaskClient:
    """A caller with a token of this role, who claims to be somebody else."""
    client = plane.app().test_client()
    token = plane.token("bob", role, *namespaces)
    client.environ_base |= {"HTTP_AUTHORIZATION": f"Bearer {token}", "HTTP_X_PICKET_ACTOR": "alice", "HTTP_HOST": "localhost"}
    return client


CALLS: list[tuple[str, str, dict[str, Any], Role]] = [
    ("GET", "/api/v1/map", {}, Role.VIEWER),
    ("GET", "/api/v1/audit", {}, Role.VIEWER),
    ("GET", "/api/v1/policy/objects", {}, Role.VIEWER),
    ("PUT", "/api/v1/modes", {"json": {"mode": "quarantine", "services": ["frontend"]}}, Role.RESPONDER),
    ("PUT", "/api/v1/modes", {"json": {"mode": "quarantine", "all": True}}, Role.APPROVER),
    ("PUT", "/api/v1/modes", {"json": {"mode": "learn", "services": ["frontend"]}}, Role.APPROVER),
    ("POST", "/api/v1/proposals/1/approve", {"json": {}}, Role.APPROVER),
    ("POST", "/api/v1/proposals/1/reject", {"json": {}}, Role.APPROVER),
    ("POST", "/api/v1/proposals/1/approve", {"json": {"override_review": "nobody is there"}}, Role.ADMIN),
    ("POST", "/api/v1/proposals/1/comments", {"json": {"row": 1, "text": "why?"}}, Role.DEVELOPER),
    ("GET", "/api/v1/owners", {}, Role.VIEWER),
    ("POST", "/api/v1/policy/rollback", {"json": {"revision": 0}}, Role.APPROVER),
    ("POST", "/api/v1/policy/apply", {"json": {}}, Role.APPROVER),
    ("POST", "/api/v1/policy/apply", {"json": {"files": [{"name": "a", "text": ""}], "override_review": "x"}}, Role.ADMIN),
    ("POST", "/api/v1/break-glass", {"json": {}}, Role.RESPONDER),
    ("POST", "/api/v1/break-glass/1/end", {"json": {}}, Role.RESPONDER),
    ("POST", "/api/v1/asks", {"json": {}}, Role.DEVELOPER),
    ("PUT", "/api/v1/leases", {"json": {}}, Role.APPROVER),
    ("POST", "/api/v1/tokens", {"json": {"workload": "frontend"}}, Role.ADMIN),
    ("GET", "/api/v1/authority", {}, Role.VIEWER),
    ("POST", "/api/v1/authority/rotate", {"json": {"step": "retire"}}, Role.ADMIN),
    ("POST", "/api/v1/learn/import", {"json": {}}, Role.ADMIN),
    ("GET", "/api/v1/users", {}, Role.ADMIN),
    ("POST", "/api/v1/users", {"json": {"name": "eve", "role": "admin"}}, Role.ADMIN),
    ("PUT", "/api/v1/users", {"json": {"name": "nobody", "role": "admin"}}, Role.ADMIN),
    ("PUT", "/api/v1/users/password", {"json": {"name": "nobody", "password": "correct horse battery"}}, Role.ADMIN),
    ("GET", "/api/v1/access-tokens", {}, Role.ADMIN),
    ("POST", "/api/v1/access-tokens", {"json": {"user": "bob"}}, Role.ADMIN),
    ("POST", "/api/v1/access-tokens/9/revoke", {"json": {}}, Role.ADMIN),
    ("POST", "/api/v1/users/revoke", {"json": {"name": "bob"}}, Role.ADMIN),
]


@pytest.mark.parametrize("role", list(Role))
def test_a_role_may_what_it_may_and_no_more(plane: Plane, role: Role) -> None:
    client = named(plane, role)
    for method, path, call, wanted in CALLS:
        status = client.open(path, method=method, **call).status_code
        assert (status not in {401, 403}) == role.may(wanted), (method, path, status)


def test_the_name_is_the_tokens_and_not_the_claim(plane: Plane) -> None:
    client = named(plane, Role.APPROVER)
    assert client.put("/api/v1/modes", json={"mode": "audit", "services": ["frontend"]}).status_code == 200
    assert plane.store.audit(1)[0].actor == "bob"


def test_a_removed_user_is_out_at_once(plane: Plane, api: FlaskClient) -> None:
    client = named(plane, Role.ADMIN)
    assert client.get("/api/v1/map").status_code == 200
    assert api.post("/api/v1/users/revoke", json={"name": "bob"}).get_json() == {"users": [], "next_cursor": None}
    assert client.get("/api/v1/map").status_code == 401
    assert [event.action for event in plane.store.audit(3)] == ["user:revoke", "access-token:create", "user:create"]


def test_what_is_refused_is_not_in_the_audit_log(plane: Plane, api: FlaskClient) -> None:
    for name in ("picket", "bob (via token)", "", "Bob"):
        assert api.post("/api/v1/users", json={"name": name, "role": "viewer"}).status_code == 422
    assert api.post("/api/v1/users/revoke", json={"name": "bob"}).status_code == 404
    assert not plane.store.audit(1)
