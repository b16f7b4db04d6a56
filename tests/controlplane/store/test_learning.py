"""Evidence of edges and watches of services, as stores keep them: merged over transactions, processes and restarts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import pytest

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.evidence import DAY_MS, HOUR_MS, Evidence
from controlplane.graph.ledger import UNSAYABLE, Ledger
from controlplane.graph.packed import pack_evidence
from controlplane.store import learning
from controlplane.store.sql import SqlStore
from controlplane.store.stored import Prunable

NOW_MS = 1_699_833_600_000
EDGE = EdgeKey("shop/web", "shop/cart", 80, "http", "GET", "/users/7")
SHAPED = EDGE._replace(path="/users/{id}")


def flow(path: str = "/users/7", at_ms: int = NOW_MS, source: str = "shop/web", peer: str = "10.0.0.1") -> Flow:
    edge = EDGE._replace(path=path, source=source)
    return Flow(edge, Verdict.ALLOWED, "shop/cart", "in", 1, at_ms, at_ms, peer_address=peer)


def record(
    store: SqlStore, sequence: int, *flows: Flow, lost: int = 0, now_ms: int = NOW_MS, epoch: str = "a" * 32, instance: str = "c-0"
) -> None:
    with store.transaction() as transaction:
        transaction.record_batch("shop/cart", instance, epoch, sequence, flows, lost, now_ms)


def test_paths_are_kept_by_shape_with_what_was_behind_them(store: SqlStore) -> None:
    record(store, 1, flow("/users/7"), flow("/users/8", peer="10.0.0.2"))
    record(store, 2, flow("/users/9", NOW_MS + DAY_MS), flow("/users/{x}"))
    evidence = store.evidence()
    assert evidence.keys() == {SHAPED, EDGE._replace(path=UNSAYABLE)}
    seen = evidence[SHAPED]
    assert (seen.count, seen.days_used, seen.hours.bit_count()) == (3, 2, 2)
    assert [values.examples for values in seen.values] == [("7", "8", "9")]
    assert seen.replicas is not None
    assert seen.replicas.examples == ("10.0.0.1", "10.0.0.2")


def test_it_is_what_a_ledger_of_all_flows_would_know(store: SqlStore, opened: Callable[[], SqlStore]) -> None:
    """Whatever came in which transaction, and also when another process goes on."""
    flows = [flow(f"/users/{n % 5}", NOW_MS + n * 7 * HOUR_MS, f"shop/w{n % 3}", f"10.0.0.{n % 4}") for n in range(60)]
    ledger = Ledger()
    for seen in flows:
        ledger.add(seen, seen.peer_address)
    for number in range(6):
        record(store if number % 2 else opened(), number + 1, *flows[number::6])
    assert store.evidence() == ledger.edges


def test_what_comes_again_writes_no_evidence(store: SqlStore) -> None:
    """Only counts and times, which the database adds up; so a value that was seen again is no write."""
    record(store, 1, flow())
    written: list[bytes] = []
    with pytest.MonkeyPatch.context() as patch:

        def pack(seen: Evidence) -> bytes:
            written.append(pack_evidence(seen))
            return written[-1]

        patch.setattr(learning, "pack_evidence", pack)
        record(store, 2, flow(at_ms=NOW_MS + 1), flow(at_ms=NOW_MS + 2))
        assert written == []
        record(store, 3, flow("/users/8"))
    assert len(written) == 1
    assert store.evidence()[SHAPED].count == 4


@pytest.mark.parametrize("order", [1, -1])
def test_of_a_source_with_too_many_edges_the_same_stay_in_whatever_order(
    store: SqlStore, monkeypatch: pytest.MonkeyPatch, order: int
) -> None:
    monkeypatch.setattr(learning.EdgeRecording.__init__, "__defaults__", (20,))
    flows = [flow(f"/word{chr(97 + n % 26)}{chr(97 + n // 26)}") for n in range(60)]
    for number, seen in enumerate(flows[::order]):
        record(store, number + 1, seen)
    kept = {edge.key.path for edge in store.edges()}
    assert len(kept) == 20
    ranked = sorted(flows, key=lambda seen: learning._hash(seen.edge))
    assert kept == {seen.edge.path for seen in ranked[:20]}
    record(store, 100, flow(source="shop/other"), flow(source="ip:10.0.0.9"))
    assert len(store.evidence()) == len(store.edges()) == 22
    with store._reading() as connection:
        assert learning.select_overflowing(connection, 20) == {"shop/web"}


def test_edges_that_are_pruned_lose_their_evidence(store: SqlStore) -> None:
    record(store, 1, flow(), flow("/new", NOW_MS + 9 * DAY_MS))
    assert store.prune(Prunable.EDGES, NOW_MS + DAY_MS, 10) == 1
    record(store, 2, flow(at_ms=NOW_MS + 10 * DAY_MS))
    seen = store.evidence()[SHAPED]
    assert (seen.count, seen.days_used) == (1, 1)


def test_a_service_was_watched_in_the_hours_in_which_its_sidecars_reported(store: SqlStore, opened: Callable[[], SqlStore]) -> None:
    """An empty report counts; what waited in the spool was watched when it was seen, up to a day back."""
    record(store, 1)
    record(store, 2, flow(at_ms=NOW_MS + HOUR_MS), now_ms=NOW_MS + 3 * HOUR_MS)
    record(opened(), 3, flow(at_ms=NOW_MS), now_ms=NOW_MS + 50 * HOUR_MS)
    watch = store.watches()["shop/cart"]
    first = NOW_MS // HOUR_MS
    assert sorted(watch.watched_hours()) == [first, first + 1, first + 3, first + 26, first + 50]
    assert (watch.starts, watch.lost, watch.saw_restart) == (1, 0, False)


def test_starts_and_losses_are_part_of_a_watch(store: SqlStore) -> None:
    record(store, 1)
    record(store, 1, epoch="b" * 32, now_ms=NOW_MS + 2 * HOUR_MS)
    record(store, 4, epoch="b" * 32, now_ms=NOW_MS + 2 * HOUR_MS, lost=5)
    watch = store.watches()["shop/cart"]
    assert (watch.starts, watch.saw_restart, watch.lost, watch.lossy_hours) == (2, True, 7, 1)


def test_an_import_watches_nothing(store: SqlStore) -> None:
    record(store, 1, flow(), instance="")
    assert store.watches() == {}
    assert replace(store.edges()[0]).count == 1
