"""Lists come in pages: together they hold each row once, also when rows come meanwhile."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient
from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.paging import cursor_of, page_after
from controlplane.store.stored import SidecarRow
from tests.harness.plane import ADD_CART, GET_CART, PAY, REDIS, Plane


@pytest.fixture
def busy(plane: Plane, api: FlaskClient) -> FlaskClient:
    """An API with several rows of everything."""
    for number, edge in enumerate((GET_CART, ADD_CART, PAY, REDIS)):
        plane.learn(edge)
        proposal = plane.review.refresh_proposal()
        assert proposal is not None
        plane.review.approve(proposal.number, "alice")
        plane.violate(edge, seen_ms=700 if number < 3 else 900)
        plane.sidecar(SidecarRow("shop/cart", f"cart-{number}"))
        api.post("/api/v1/users", json={"name": f"user{number}", "role": "viewer"})
        grant = {"source": "shop/pay", "destination": "shop/redis", "port": 7000 + number, "seconds": 60, "reason": "x"}
        assert api.post("/api/v1/break-glass", json=grant).status_code == 200
    for number in range(4):
        ask = {"source": "shop/pay", "destination": "shop/redis", "port": 8000 + number, "reason": "x"}
        assert api.post("/api/v1/asks", json=ask).status_code == 200
    return api


LISTS = {
    "map": "edges", "proposals": "proposals", "policy/revisions": "revisions", "violations": "violations", "audit": "events",
    "sidecars": "sidecars", "users": "users", "asks": "asks", "leases": "leases", "break-glass": "grants",
    "audit?after_id=0": "events",
}  # fmt: skip


@pytest.mark.parametrize("path", LISTS)
def test_pages_hold_what_one_list_holds(busy: FlaskClient, path: str) -> None:
    mark = "&" if "?" in path else "?"
    whole = busy.get(f"/api/v1/{path}{mark}limit=200").get_json()
    assert whole["next_cursor"] is None
    assert len(whole[LISTS[path]]) > 3
    found: list[object] = []
    cursor: str | None = ""
    while cursor is not None:
        answer = busy.get(f"/api/v1/{path}{mark}limit=3&cursor={cursor}").get_json()
        assert 0 < len(answer[LISTS[path]]) <= 3
        found += answer[LISTS[path]]
        cursor = answer["next_cursor"]
    assert found == whole[LISTS[path]]


def test_a_row_that_comes_meanwhile_repeats_none(plane: Plane, busy: FlaskClient) -> None:
    first = busy.get("/api/v1/violations?limit=2").get_json()
    plane.violate(PAY._replace(path="/new"), seen_ms=950)
    rest = busy.get(f"/api/v1/violations?limit=200&cursor={first['next_cursor']}").get_json()
    assert len({row["id"] for row in first["violations"] + rest["violations"]}) == 4


@pytest.mark.parametrize("cursor", ["x", "bnVsbA==", cursor_of("a"), cursor_of({"a": 1}), cursor_of([1, "x", None])])
def test_what_is_no_cursor_is_refused(busy: FlaskClient, cursor: str) -> None:
    for path in LISTS:
        if cursor == cursor_of("a") and path == "users":
            continue
        mark = "&" if "?" in path else "?"
        answer = busy.get(f"/api/v1/{path}{mark}cursor={cursor}")
        assert (answer.status_code, answer.get_json()["where"]) == (400, "query.cursor"), path


@given(rows=st.lists(st.integers(0, 50), unique=True).map(sorted), limit=st.integers(1, 10))
def test_pages_of_any_list_are_that_list(rows: list[int], limit: int) -> None:
    found: list[int] = []
    cursor: str | None = ""
    while cursor is not None:
        shown, cursor = page_after(rows, limit, cursor, lambda row: row, int)
        found += shown
    assert found == rows
