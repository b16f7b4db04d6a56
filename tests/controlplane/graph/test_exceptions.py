"""Exceptions that nobody used: a row for each edge that was never seen and on which nobody has decided, for a time."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.graph.evidence import DAY_MS
from controlplane.graph.exceptions import REPORTED_MS, REVIEWED_DAYS, unused_exceptions
from controlplane.graph.learn import GraphEdge
from controlplane.graph.proposal import Rejected
from controlplane.graph.rows import ReviewRow
from controlplane.policy.grants import Grant
from controlplane.policy.rules import AddressSource, HttpMatch, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.harness.mesh import TOPOLOGY, WEB

CART = ServiceName("shop", "cart")
GET, POST = HttpMatch("GET", "/a"), HttpMatch("POST", "/a")
ENDED_MS = 100 * DAY_MS
LATER_MS = ENDED_MS + REPORTED_MS
GRANT = Grant(3, CART, Rule(WEB, 7070, (GET, POST)), None, "why", "", "ana", ENDED_MS - 1, ENDED_MS, ENDED_MS, "picket")
SEEN = GraphEdge("shop/web", "shop/cart", 7070, "grpc", (GET,), 1, ENDED_MS, ENDED_MS)


def rows(*grants: Grant, seen: tuple[GraphEdge, ...] = (), policy: Policy | None = None, now_ms: int = LATER_MS) -> list[ReviewRow]:
    return unused_exceptions(grants, seen, policy or Policy(), Rejected(()), TOPOLOGY, now_ms)


def test_two_exceptions_of_one_edge_are_one_row() -> None:
    """The newest says why."""
    (row,) = rows(replace(GRANT, id=4, reason="again"), GRANT)
    assert row.asked is not None
    assert (row.asked.reason, row.edge.http) == ("again", (GET, POST))


def test_what_is_approved_of_it_is_not_asked_for() -> None:
    (row,) = rows(GRANT, policy=Policy(1, {CART: ServicePolicy(CART, (Rule(WEB, 7070, (GET,)),))}))
    assert row.edge.http == (POST,)


@pytest.mark.parametrize(
    ("grant", "seen", "now_ms"),
    [
        (replace(GRANT, ended_ms=None), (), LATER_MS),
        (GRANT, (), LATER_MS - 1),
        (GRANT, (), ENDED_MS + REVIEWED_DAYS * DAY_MS),
        (GRANT, (SEEN,), LATER_MS),
        (replace(GRANT, rule=Rule(AddressSource("10.0.0.0/8"), 7070)), (replace(SEEN, source="ip:10.1.2.3"),), LATER_MS),
    ],
    ids=["open", "just ended", "long ago", "used", "used from an address"],
)
def test_what_awaits_no_review(grant: Grant, seen: tuple[GraphEdge, ...], now_ms: int) -> None:
    assert rows(grant, seen=seen, now_ms=now_ms) == []
