"""What is read again: the very objects where nothing changed, and always what is stored."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from uuid import uuid4

from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.policy.leases import EdgeLease
from controlplane.policy.traffic_policy import Lease
from controlplane.store.rereading import Columns, Rereading
from controlplane.store.sql import SqlStore
from controlplane.store.stored import Prunable
from controlplane.topology.model import ServiceName

CART = EdgeKey("shop/web", "shop/cart", 80, "http", "GET", "/items")
PAY = EdgeKey("shop/web", "shop/pay", 80, "http", "GET", "/")


def use(store: SqlStore, *edges: EdgeKey, at_ms: int = 1_000) -> None:
    flows = [Flow(edge, Verdict.ALLOWED, edge.destination, "in", 1, at_ms, at_ms) for edge in edges]
    with store.transaction() as transaction:
        transaction.record_batch("shop/cart", "0", uuid4().hex, 1, flows, 0, at_ms)


def lease(store: SqlStore, owner: str, source: str = "shop/web") -> None:
    with store.transaction() as transaction:
        transaction.set_leases([EdgeLease(ServiceName("shop", "cart"), source, 80, Lease(owner), "ana", 1)])


ROWS = st.dictionaries(st.integers(0, 5), st.integers(0, 2)).map(lambda rows: list(rows.items()))


@given(st.lists(ROWS, max_size=6), st.integers(0, 6))
def test_what_was_read_before_changes_nothing(reads: list[list[tuple[int, int]]], max_kept: int) -> None:
    def make(row: Columns) -> list[int]:
        return list(row)

    reading = Rereading(make, max_kept=max_kept)
    before: Iterable[list[int]] = ()
    for rows in reads:
        found = reading.read(rows)
        assert found == [make(row) for row in rows]
        kept = {id(value) for value in before}
        if len(rows) <= max_kept:
            assert all(id(value) in kept for value in found if value in list(before))
            before = found
        else:
            before = ()


def test_evidence_of_other_edges_is_the_very_object_and_that_of_a_used_one_is_new(store: SqlStore) -> None:
    use(store, CART, PAY)
    before = store.evidence()
    assert all(store.evidence()[edge] is known for edge, known in before.items())
    use(store, CART, at_ms=2_000)
    after = store.evidence()
    assert after[PAY] is before[PAY]
    assert (before[CART].count, after[CART].count, after[CART].last_seen_ms) == (1, 2, 2_000)


def test_another_control_planes_writes_are_seen(opened: Callable[[], SqlStore]) -> None:
    ours, theirs = opened(), opened()
    use(ours, CART)
    lease(ours, "team-web")
    assert (len(ours.evidence()), len(ours.watches()), [held.lease.owner for held in ours.leases()]) == (1, 1, ["team-web"])
    use(theirs, PAY, at_ms=7_200_000)
    lease(theirs, "team-shop")
    lease(theirs, "team-batch", "shop/batch")
    assert ours.evidence() == theirs.evidence()
    assert ours.watches() == theirs.watches()
    assert [held.lease.owner for held in ours.leases()] == ["team-batch", "team-shop"]
    assert list(ours.leases()) == list(theirs.leases())


def test_what_was_removed_is_gone(store: SqlStore) -> None:
    use(store, CART)
    use(store, PAY, at_ms=90_000)
    assert len(store.evidence()) == 2
    assert store.prune(Prunable.EDGES, 50_000, 10) == 1
    assert list(store.evidence()) == [PAY]
