"""Several writers and readers at once, as several control planes with several threads have them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.policy.audit import Chain, Intact
from controlplane.store.sql import SqlStore
from controlplane.store.stored import SidecarRow, ViolationFilter

T = TypeVar("T")
WRITERS = 8
EPOCH = "a" * 32
EDGES = [EdgeKey("shop/web", f"shop/d{index}", 80, "http") for index in range(40)]


def together(work: Callable[[int], T]) -> Sequence[T]:
    """What ``work`` returns in each of the writers, which begin at the same moment; the first exception comes out."""
    barrier = threading.Barrier(WRITERS)

    def begin(index: int) -> T:
        barrier.wait(30)
        return work(index)

    with ThreadPoolExecutor(WRITERS) as threads:
        return list(threads.map(begin, range(WRITERS)))


def seen(edges: Sequence[EdgeKey], verdict: Verdict = Verdict.ALLOWED) -> list[Flow]:
    """One use of each edge."""
    return [Flow(edge, verdict, "shop/x", "in", 1, 1_000, 1_000) for edge in edges]


def test_writers_of_the_same_edges_lose_nothing(opened: Callable[[], SqlStore]) -> None:
    """Writers that meet the same edges, in different orders and in two control planes, add up and never block for good."""
    stores = (opened(), opened())

    def work(index: int) -> None:
        flows = seen(EDGES if index % 3 else EDGES[::-1])
        for sequence in range(1, 11):
            with stores[index % 2].transaction() as transaction:
                for part in (flows[:20], flows[20:]):
                    transaction.record_batch("shop/x", f"{index}-{part is flows}-{part[0].edge}", EPOCH, sequence, part, 0, 1)

    together(work)
    assert {edge.count for edge in stores[0].edges()} == {WRITERS * 10}


def test_the_same_batch_counts_once(opened: Callable[[], SqlStore]) -> None:
    """A sidecar that sends a batch again through another control plane, while the first still writes, is counted once."""
    stores = (opened(), opened())
    for sequence in range(1, 6):

        def work(index: int, sequence: int = sequence) -> bool:
            with stores[index % 2].transaction() as transaction:
                flows = seen(EDGES[:3]) + seen(EDGES[:1], Verdict.DENIED)
                return transaction.record_batch("shop/x", "x-0", EPOCH, sequence, flows, 0, 1).stored

        assert sorted(together(work)) == [False] * (WRITERS - 1) + [True]
    assert {edge.count for edge in stores[0].edges()} == {5}
    assert stores[0].count_violations(ViolationFilter()).total == 5


def test_one_of_racing_uses_of_a_token_wins(opened: Callable[[], SqlStore]) -> None:
    """A join token admits one sidecar, however many ask at once."""
    stores = (opened(), opened())
    with stores[0].transaction() as transaction:
        transaction.add_join_token("hash", "shop/cart", 100, 1)

    def work(index: int) -> str | None:
        with stores[index % 2].transaction() as transaction:
            return transaction.use_join_token("hash", 50)

    assert sorted(map(str, together(work))) == ["None"] * (WRITERS - 1) + ["shop/cart"]


def test_numbers_never_collide(opened: Callable[[], SqlStore]) -> None:
    """Revisions, proposals and audit events are numbered without gaps, whoever adds them."""
    stores = (opened(), opened())

    def work(index: int) -> list[tuple[int, int, int]]:
        found = []
        for _ in range(5):
            with stores[index % 2].transaction() as transaction:
                revision = transaction.add_revision("ana", "", "{}", 1)
                transaction.set_active_revision(revision.number)
                proposal = transaction.add_proposal(revision.number, "{}", 1)
                found.append((revision.number, proposal.number, transaction.add_audit("ana", "a", "s", "{}", 1).id))
        return found

    rows = [row for part in together(work) for row in part]
    for numbers in zip(*rows, strict=True):
        assert sorted(numbers) == list(range(1, WRITERS * 5 + 1))
    assert stores[1].active_revision() == WRITERS * 5
    chain = Chain()
    chain.follow(stores[0].audit_after(0, 10_000))
    found = chain.verdict()
    assert isinstance(found, Intact)
    assert found.events == WRITERS * 5


def test_replacing_a_proposal_has_one_winner(opened: Callable[[], SqlStore]) -> None:
    """Of those who close the open proposal and add another, one succeeds and none waits for good."""
    stores = (opened(), opened())
    with stores[0].transaction() as transaction:
        transaction.add_proposal(0, "{}", 1)

    def work(index: int) -> int | None:
        with stores[index % 2].transaction() as transaction:
            if transaction.decide_proposal(1, "superseded", "picket", "", None, 2):
                return transaction.add_proposal(0, "{}", 2).number
        return None

    assert sorted(map(str, together(work))) == ["2"] + ["None"] * (WRITERS - 1)
    assert [proposal.number for proposal in stores[0].proposals("open", 10)] == [2]


def test_a_violation_has_one_row_whoever_stores_it(opened: Callable[[], SqlStore]) -> None:
    """Two control planes that hear of one violation at once keep one row of it."""
    stores = (opened(), opened())

    def work(index: int) -> None:
        with stores[index % 2].transaction() as transaction:
            transaction.record_batch("shop/x", f"x-{index}", EPOCH, 1, seen(EDGES[:5], Verdict.DENIED), 0, 1)

    together(work)
    assert [violation.count for violation in stores[0].violations(ViolationFilter(), 99)] == [WRITERS] * 5


def test_a_follower_sees_every_violation(opened: Callable[[], SqlStore]) -> None:
    """Who reads on from the last id that it saw misses no violation that is stored meanwhile."""
    store, other = opened(), opened()
    with store.transaction() as transaction:
        transaction.record_batch("shop/x", "first", EPOCH, 1, seen(EDGES[:1], Verdict.DENIED), 0, 1)
    written = threading.Event()
    followed = [1]

    def follow() -> None:
        while True:
            # Looks on a clock, as a person's terminal does; a reader that never pauses would starve the writers' threads.
            last = written.wait(0.005)
            followed.extend(v.id for v in other.violations(ViolationFilter(after_id=followed[-1]), 1_000))
            if last:
                return

    def work(index: int) -> None:
        for sequence in range(1, 16):
            edges = [EdgeKey(f"w/{index}", f"s/{sequence}", port, "tcp") for port in (1, 2)]
            with (store, other)[index % 2].transaction() as transaction:
                transaction.record_batch("shop/x", f"x-{index}", EPOCH, sequence, seen(edges, Verdict.DENIED), 0, 1)

    follower = threading.Thread(target=follow)
    follower.start()
    try:
        together(work)
    finally:
        written.set()
        follower.join(30)
    assert followed == list(range(1, 2 + WRITERS * 15 * 2))


def test_states_and_reports_are_written_beside_each_other(opened: Callable[[], SqlStore]) -> None:
    """Saving sidecars and recording their batches, in whatever order of rows, never block each other for good."""
    stores = (opened(), opened())
    names = [f"x-{index}" for index in range(10)]

    def work(index: int) -> None:
        for sequence in range(1, 6):
            with stores[index % 2].transaction() as transaction:
                if index % 2:
                    transaction.save_sidecars([SidecarRow(f"shop/{index}", name, connected=True) for name in names[::-1]])
                else:
                    for name in names:
                        transaction.record_batch(f"shop/{index + 1}", name, EPOCH, sequence, [], 1, 1)

    together(work)
    rows = stores[0].sidecars()
    assert len(rows) == WRITERS // 2 * len(names)
    assert {(row.connected, row.lost) for row in rows} == {(True, 5)}


def test_writers_may_read_while_others_wait(store: SqlStore) -> None:
    """Each of many waiting writers can read on a second connection while it writes, as approval does."""

    def work(_: int) -> int:
        with store.transaction() as transaction:
            expected = len(store.revisions(1_000)) + 1
            return transaction.add_revision("ana", "", "{}", 1).number - expected

    def many(index: int) -> list[int]:
        with ThreadPoolExecutor(4) as threads:
            return list(threads.map(work, range(4)))

    together(many)
    assert len(store.revisions(1_000)) == WRITERS * 4
