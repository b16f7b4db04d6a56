"""Pods without a sidecar, by what they were made for and whose they are."""

from __future__ import annotations

from controlplane.topology.unmeshed import Gaps, Unmeshed


def without(replica: str, owner: str, workload: str, reason: str = "it was there before") -> Unmeshed:
    return Unmeshed(workload.partition("/")[0], replica, owner, reason, workload)


GAPS = Gaps(
    (
        without("cart-1", "Deployment/cart", "shop/cart"), without("cart-2", "Deployment/cart", "shop/cart"),
        without("agent", "DaemonSet/agent", "shop/agent", "the host's network"), without("cart-9", "Pod/cart-9", "shop/cart"),
    )
)  # fmt: skip


def test_replicas_of_one_owner_stand_together_those_with_the_most_first() -> None:
    found = [(owned.first.owner, owned.first.replica, owned.count) for owned in GAPS.by_owner()]
    assert found == [("Deployment/cart", "cart-1", 2), ("DaemonSet/agent", "agent", 1), ("Pod/cart-9", "cart-9", 1)]
    assert [owned.first.owner for owned in GAPS.by_owner("shop/cart")] == ["Deployment/cart", "Pod/cart-9"]
    assert GAPS.by_owner("shop/other") == ()


def test_one_owner_with_two_reasons_is_told_twice() -> None:
    gaps = Gaps((*GAPS.replicas, without("cart-3", "Deployment/cart", "shop/cart", "its label says so")))
    reasons = [(owned.first.reason, owned.count) for owned in gaps.by_owner() if owned.first.owner == "Deployment/cart"]
    assert reasons == [("it was there before", 2), ("its label says so", 1)]


def test_replicas_are_counted_by_workload() -> None:
    assert GAPS.by_workload() == {"shop/cart": 3, "shop/agent": 1}
