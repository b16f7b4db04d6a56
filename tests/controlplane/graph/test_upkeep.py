"""When an approved edge should go."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.graph.evidence import DAY_MS
from controlplane.graph.learn import GraphEdge
from controlplane.graph.upkeep import HeldEdge, held_edges, removal_reason
from controlplane.graph.watch import Watch
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.leases import EdgeLease, from_ms
from controlplane.policy.rules import AddressSource, Policy, Rule, ServicePolicy
from controlplane.policy.traffic_policy import Lease
from controlplane.topology.model import ServiceName

CART = ServiceName("shop", "cart")
RULE = Rule(WorkloadId("shop", "web"), 80)
NOW_MS = 100 * DAY_MS
UNUSED = HeldEdge(CART, RULE, None, None, NOW_MS - 40 * DAY_MS)


def watched(days: int, lost_ms: int | None = None) -> dict[str, Watch]:
    """The destination's sidecars sent without a gap for so many days."""
    watch = Watch()
    for hour in range(days * 24 + 1):
        watch.hear(NOW_MS - days * DAY_MS + hour * (DAY_MS // 24))
    if lost_ms is not None:
        watch.hear(lost_ms, 1)
    return {"shop/cart": watch}


def test_an_approved_edge_has_its_lease_and_its_last_use() -> None:
    policy = Policy(2, {CART: ServicePolicy(CART, (RULE, Rule(AddressSource("10.1.0.0/16"), 80)), 2)})
    used = [GraphEdge("shop/web", "shop/cart", 80, "http", (), 1, 0, at) for at in (5, 9, 7)]
    used += [GraphEdge(source, "shop/cart", 80, "http", (), 1, 0, 20) for source in ("ip:10.1.2.3", "ip:no address")]
    lease = EdgeLease(CART, "shop/web", 80, Lease("ana", "", "", None), "bo", 3)
    kept = {(CART, "shop/web", 80): 8, (CART, "ip:10.1.0.0/16", 80): 21, (CART, "shop/gone", 80): 99}
    web, network = held_edges(policy, {lease.held: lease}, used, {2: 1}, kept)
    assert (web.lease, web.last_used_ms, web.since_ms) == (lease, 9, 3)
    assert (network.lease, network.last_used_ms, network.since_ms) == (None, 21, 1)
    assert [held.last_used_ms for held in held_edges(policy, {}, [], {}, {(CART, "shop/web", 80): 8})] == [8, None]


def test_unused_is_only_what_was_watched() -> None:
    assert removal_reason(UNUSED, watched(60), NOW_MS, 30) == "approved 40 days ago and never used"
    used = replace(UNUSED, last_used_ms=NOW_MS - 31 * DAY_MS)
    assert removal_reason(used, watched(60), NOW_MS, 30) == "not used for 31 days"
    for watches in ({}, watched(20), watched(60, NOW_MS - DAY_MS)):
        assert removal_reason(UNUSED, watches, NOW_MS, 30) == ""
    assert removal_reason(UNUSED, watched(60, NOW_MS - 45 * DAY_MS), NOW_MS, 30)


@pytest.mark.parametrize(
    ("held", "unused_days"),
    [
        (UNUSED, 0), (UNUSED, 41), (replace(UNUSED, since_ms=None), 30), (replace(UNUSED, last_used_ms=NOW_MS - DAY_MS), 30),
        (replace(UNUSED, since_ms=NOW_MS - DAY_MS), 30),
    ],
)  # fmt: skip
def test_what_is_young_used_or_of_unknown_age_stays(held: HeldEdge, unused_days: int) -> None:
    assert removal_reason(held, watched(60), NOW_MS, unused_days) == ""


def test_a_lease_that_is_over_is_a_reason_by_itself() -> None:
    def until(at_ms: int) -> HeldEdge:
        lease = EdgeLease(CART, "shop/web", 80, Lease("ana", "", "", from_ms(at_ms)), "bo", 3)
        return HeldEdge(CART, RULE, lease, NOW_MS, 3)

    assert removal_reason(until(NOW_MS - DAY_MS), {}, NOW_MS, 0) == "its lease ended 1 day ago"
    assert removal_reason(until(NOW_MS + 1), {}, NOW_MS, 0) == ""
