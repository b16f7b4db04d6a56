"""Leases of approved edges, as values."""

from __future__ import annotations

import datetime

from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.leases import EdgeLease, from_ms, leases_for, leases_of, to_ms
from controlplane.policy.rules import HttpMatch, Policy, Rule
from controlplane.policy.traffic_documents import documents_of
from controlplane.policy.traffic_policy import Lease
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import policies

CART = ServiceName("shop", "cart")
WEB = WorkloadId("shop", "web")


@given(st.integers(0, 253_402_300_799_999))
def test_a_moment_is_the_same_there_and_back(at_ms: int) -> None:
    assert to_ms(from_ms(at_ms)) == at_ms


def test_one_lease_for_several_edges_is_one_for_each_pair_of_ends() -> None:
    lease = Lease("ana", "the shop needs it", "OPS-1", datetime.datetime(2026, 1, 1, tzinfo=datetime.UTC))
    wanted = [(CART, Rule(WEB, 80, (HttpMatch("GET"),))), (CART, Rule(WEB, 80, (HttpMatch("PUT"),))), (CART, Rule(WEB, 81))]
    made = leases_for(wanted, lease, "bo", 7)
    assert made == (EdgeLease(CART, "shop/web", 80, lease, "bo", 7), EdgeLease(CART, "shop/web", 81, lease, "bo", 7))
    assert made[0].expires_ms == 1_767_225_600_000
    assert made[0].held == (CART, "shop/web", 80)


@given(policies(), st.sampled_from(["ana", "team-shop"]))
def test_leases_that_are_exported_are_read_back(policy: Policy, owner: str) -> None:
    lease = Lease(owner, "needed", "", None)
    wanted = [(name, rule) for name, listed in policy.services.items() for rule in listed.rules]
    leases = leases_for(wanted, lease, "bo", 7)
    documents = documents_of(policy, {}, {held.held: held.lease for held in leases})
    assert {held.held for held in leases_of(documents, "bo", 7)} == {held.held for held in leases}
    assert leases_of(documents_of(policy, {}, {}), "bo", 7) == ()
