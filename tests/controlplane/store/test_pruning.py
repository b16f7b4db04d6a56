"""What is out of date is removed, a piece at a time, and nothing else; on SQLite and PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.policy.approvals import Approval
from controlplane.store.sql import SqlStore
from controlplane.store.stored import Prunable, SidecarRow, ViolationFilter

OLD, NEW, BOUND = 1_000, 900_000, 500_000


def used(number: int, verdict: Verdict, seen_ms: int) -> Flow:
    return Flow(EdgeKey("shop/web", "shop/cart", number, "http"), verdict, "shop/cart", "in", 1, seen_ms, seen_ms)


def record(store: SqlStore, *flows: Flow, instance: str = "cart-0", epoch: str = "a" * 32, now_ms: int = NEW) -> bool:
    with store.transaction() as transaction:
        return transaction.record_batch("shop/cart", instance, epoch, 1, flows, 0, now_ms).stored


@pytest.mark.parametrize(
    ("what", "verdict", "ports"),
    [
        (Prunable.VIOLATIONS, Verdict.DENIED, lambda store: [v.edge.port for v in store.violations(ViolationFilter(), 99)]),
        (Prunable.EDGES, Verdict.ALLOWED, lambda store: [edge.key.port for edge in store.edges()]),
    ],
)
def test_what_was_not_seen_for_long_goes_and_the_rest_stays(
    store: SqlStore, what: Prunable, verdict: Verdict, ports: Callable[[SqlStore], list[int]]
) -> None:
    record(store, *(used(port, verdict, OLD) for port in range(1, 8)), used(8, verdict, BOUND), used(9, verdict, NEW))
    assert [store.prune(what, BOUND, 5) for _ in range(3)] == [5, 2, 0]
    assert sorted(ports(store)) == [8, 9]
    for other in set(Prunable) - {what, Prunable.SUPERSEDED_PROPOSALS}:
        assert store.prune(other, BOUND, 5) == 0


def test_superseded_proposals_go_but_for_the_newest_and_decided_ones_stay(store: SqlStore) -> None:
    with store.transaction() as transaction:
        for status in ("superseded", "rejected", "superseded", "approved", "superseded", "superseded"):
            number = transaction.add_proposal(0, "[]", 1).number
            transaction.decide_proposal(number, status, "ana", "", None, 2)
        transaction.add_proposal(0, "[]", 3)
    assert store.prune(Prunable.SUPERSEDED_PROPOSALS, 2, 99) == 2
    assert [(p.number, p.status) for p in store.proposals(None, 99)] == [
        (7, "open"), (6, "superseded"), (5, "superseded"), (4, "approved"), (2, "rejected"),
    ]  # fmt: skip
    assert store.prune(Prunable.SUPERSEDED_PROPOSALS, 2, 99) == 0
    with store.transaction() as transaction:
        assert transaction.add_proposal(0, "[]", 4).number == 8


def test_sidecars_that_are_gone_go_with_what_their_reports_said(store: SqlStore) -> None:
    def row(instance: str, *, connected: bool = False, connected_ms: int = OLD, certificate_ms: int | None = None) -> SidecarRow:
        return SidecarRow("shop/cart", instance, connected, connected_ms, certificate_not_after_ms=certificate_ms)

    alive = [row("here", connected=True), row("back", connected_ms=NEW), row("renewing", certificate_ms=NEW)]
    with store.transaction() as transaction:
        transaction.save_sidecars([*alive, row("gone"), row("reports")])
    record(store, instance="gone", now_ms=OLD)
    record(store, instance="reports", now_ms=NEW, epoch="b" * 32)
    assert store.prune(Prunable.SIDECARS, BOUND, 99) == 1
    assert [found.instance for found in store.sidecars()] == ["back", "here", "renewing", "reports"]
    record(store, instance="gone", now_ms=NEW, epoch="c" * 32)
    assert next(found for found in store.sidecars() if found.instance == "gone").last_report_ms == NEW


def test_a_batch_is_known_again_until_its_epoch_is_out_of_date(store: SqlStore) -> None:
    record(store, used(80, Verdict.ALLOWED, OLD), now_ms=OLD)
    assert store.prune(Prunable.EPOCHS, OLD, 99) == 0
    assert not record(store, used(80, Verdict.ALLOWED, OLD), now_ms=OLD)
    assert store.prune(Prunable.EPOCHS, BOUND, 99) == 1
    assert record(store, used(80, Verdict.ALLOWED, OLD), now_ms=NEW)


def test_approvals_go_that_count_no_more(store: SqlStore) -> None:
    with store.transaction() as transaction:
        transaction.add_approvals([Approval("q", "ana", OLD), Approval("q", "ben", NEW)])
    assert store.prune(Prunable.APPROVALS, BOUND, 99) == 1
    assert [approval.actor for approval in store.approvals(["q"], 0)] == ["ben"]


def test_join_tokens_go_once_they_are_used_or_expired(store: SqlStore) -> None:
    with store.transaction() as transaction:
        for name, expires_ms in (("expired", OLD), ("used", NEW), ("good", NEW)):
            transaction.add_join_token(name, "shop/cart", expires_ms, 0)
        assert transaction.use_join_token("used", OLD) == "shop/cart"
    assert store.prune(Prunable.JOIN_TOKENS, BOUND, 99) == 2
    with store.transaction() as transaction:
        assert transaction.use_join_token("good", BOUND) == "shop/cart"


@pytest.mark.parametrize("what", Prunable)
def test_any_bound_is_taken(store: SqlStore, what: Prunable) -> None:
    record(store, used(80, Verdict.ALLOWED, OLD))
    for bound in (-(2**63), 0, 2**63, 2**80):
        store.prune(what, max(bound, 0) if what is Prunable.SUPERSEDED_PROPOSALS else bound, 99)
    assert store.prune(what, 0, 0) == 0
