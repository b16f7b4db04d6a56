"""Proofs are stored as they are, and only the connection that was asked for counts as the probe whose mark it bears."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.evidence import HOUR_MS
from controlplane.policy.proofs import Answer, Proof, Status, Target, server_name
from controlplane.store.sql import SqlStore
from controlplane.store.stored import Prunable, ViolationFilter
from controlplane.topology.model import ServiceName

MARK = "0123456789abcdef" * 2
WANTED = Proof(0, Target(ServiceName("shop", "cart"), 7070, "10.0.0.2"), 3, "ana", 5)
EDGE = EdgeKey("shop/ads", "shop/cart", 7070, "http", "HEAD", "/.well-known/picket-probe")
DENIED = Flow(
    EDGE, Verdict.DENIED, "shop/cart", "in", 1, 900, 900, server_name=server_name(MARK), peer_address="10.0.0.9",
    deny_id="deny:shop/cart@r3",
)  # fmt: skip
WITH_PROBES = ViolationFilter(probes=True)


def trying(store: SqlStore) -> Proof:
    with store.transaction() as transaction:
        asked = transaction.add_proof(WANTED)
        assert asked is not None
        tried = replace(asked, status=Status.TRYING, source="shop/ads", instance="ads-0", mark=MARK, tried_ms=8)
        assert transaction.move_proof(asked, tried)
    return tried


def record(store: SqlStore, *flows: Flow, sequence: int = 1) -> None:
    with store.transaction() as transaction:
        transaction.record_batch("shop/cart", "cart-0", "a" * 32, sequence, flows, 0, 1_000)


def test_one_of_a_target_is_open_at_a_time_and_moves_once_from_each_state(store: SqlStore) -> None:
    tried = trying(store)
    with store.transaction() as transaction:
        assert transaction.add_proof(WANTED) is None
        other = transaction.add_proof(replace(WANTED, target=WANTED.target._replace(port=80)))
        assert other is not None
        answered = replace(tried, answer=Answer.REFUSED, told="HTTP 403", answered_ms=9)
        assert transaction.move_proof(tried, answered)
        assert not transaction.move_proof(tried, replace(tried, status=Status.NOT_TRIED)), "it was answered meanwhile"
    assert store.proofs(9, open_only=True) == [other, answered]
    with store.transaction() as transaction:
        done = replace(answered, status=Status.PROVEN, ended_ms=10)
        assert transaction.move_proof(answered, done)
        again = transaction.add_proof(replace(WANTED, revision=4))
        assert again is not None
    assert store.proofs(9, open_only=True) == [again, other]
    assert store.proofs(9, revision=3) == [other, done]
    assert store.proofs(1, other.id) == [done]
    assert sorted(proof.id for proof in store.newest_proofs()) == [other.id, again.id]
    assert store.prune(Prunable.PROOFS, 6, 9) == 1, "the newest of a target stays"
    assert [proof.id for proof in store.proofs(9)] == [again.id, other.id]


def test_the_denial_of_a_probe_is_noted_with_its_proof_and_is_no_blocked_connection(store: SqlStore) -> None:
    tried = trying(store)
    record(store, DENIED)
    assert store.violations(ViolationFilter(), 9) == []
    assert store.count_violations(ViolationFilter()).total == 0
    shown = store.violations(WITH_PROBES, 9)
    assert [(found.probe, found.edge) for found in shown] == [(tried.id, EDGE)]
    assert [found.probe for found in store.violation_page(WITH_PROBES, 9).violations] == [tried.id]
    assert store.proofs(1) == [replace(tried, violation=shown[0].id, deny_id="deny:shop/cart@r3")]
    assert store.history(0, 9) == []


@pytest.mark.parametrize("verdict", [Verdict.ALLOWED, Verdict.WOULD_DENY])
def test_a_probe_that_came_through_is_neither_learned_nor_proof(store: SqlStore, verdict: Verdict) -> None:
    tried = trying(store)
    record(store, replace(DENIED, verdict=Verdict.ALLOWED), replace(DENIED, verdict=verdict))
    assert store.edges() == []
    assert store.violations(ViolationFilter(), 9) == []
    assert store.proofs(1) == [tried]


@pytest.mark.parametrize(
    "forged",
    [
        replace(DENIED, edge=EDGE._replace(source="shop/evil")),
        replace(DENIED, edge=EDGE._replace(port=80)),
        replace(DENIED, edge=EDGE._replace(destination="shop/pay")),
        replace(DENIED, reporter="shop/pay"),
        replace(DENIED, direction="out"),
        replace(DENIED, count=2),
        replace(DENIED, server_name=server_name("f" * 32)),
        replace(DENIED, first_seen_ms=8 + HOUR_MS, last_seen_ms=8 + HOUR_MS),
        replace(DENIED, first_seen_ms=8 + HOUR_MS, last_seen_ms=8 + HOUR_MS, verdict=Verdict.WOULD_DENY),
    ],
)
def test_a_mark_hides_nothing_else(store: SqlStore, forged: Flow) -> None:
    """Whoever writes a mark on an attack of its own has it in the log all the same."""
    tried = trying(store)
    record(store, forged)
    assert [found.probe for found in store.violations(ViolationFilter(), 9)] == [0]
    assert store.proofs(1) == [tried]


def test_a_mark_counts_once_also_when_it_comes_late(store: SqlStore) -> None:
    tried = trying(store)
    with store.transaction() as transaction:
        assert transaction.move_proof(tried, replace(tried, status=Status.NOT_TRIED, ended_ms=9))
    record(store, DENIED)
    record(store, replace(DENIED, first_seen_ms=950, last_seen_ms=950, peer_address="10.0.0.8"), sequence=2)
    assert [found.peer_address for found in store.violations(ViolationFilter(), 9)] == ["10.0.0.8"]
