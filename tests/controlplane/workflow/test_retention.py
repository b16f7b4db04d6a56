"""One sweep removes what the settings say, tells of it, and holds nobody up."""

from __future__ import annotations

import asyncio

import msgspec

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.store.interface import StoreError
from controlplane.store.sql import SqlStore
from controlplane.store.stored import Prunable, ViolationFilter
from controlplane.workflow.retention import PIECE_ROWS, Keep, Retention, bounds

DAY_MS = 86_400_000
NOW_MS = 1_000 * DAY_MS


def _nothing(_: int) -> None: ...


def test_bounds_are_days_before_now_and_zero_is_for_ever() -> None:
    found = bounds(Keep(violations_days=90, edges_days=0, sidecars_days=30, history_days=7), NOW_MS)
    assert found[Prunable.VIOLATIONS] == 910 * DAY_MS
    assert found[Prunable.SIDECARS] == 970 * DAY_MS
    assert Prunable.EDGES not in found
    assert set(found) == set(Prunable) - {Prunable.EDGES}


def violations(store: SqlStore, count: int, seen_ms: int, sequence: int) -> None:
    edge = EdgeKey("shop/web", "shop/cart", 80, "http", "GET")
    flows = [
        Flow(edge._replace(path=f"/{seen_ms}/{number}"), Verdict.DENIED, "shop/cart", "in", 1, seen_ms, seen_ms)
        for number in range(count)
    ]
    with store.transaction() as transaction:
        transaction.record_batch("shop/cart", "cart-0", "a" * 32, sequence, flows, 0, NOW_MS)


def retention(store: SqlStore, told: list[tuple[Prunable, int]]) -> Retention:
    return Retention(store, Keep(90, 365, 30, 30), lambda: NOW_MS, lambda what, count: told.append((what, count)), _nothing)


async def test_a_sweep_removes_in_pieces_and_the_audit_log_says_how_much(store: SqlStore) -> None:
    violations(store, PIECE_ROWS + 7, NOW_MS - 91 * DAY_MS, 1)
    violations(store, 3, NOW_MS - 89 * DAY_MS, 2)
    told: list[tuple[Prunable, int]] = []
    assert await retention(store, told).sweep() == {Prunable.VIOLATIONS: PIECE_ROWS + 7, Prunable.VIOLATION_HOURS: 1}
    assert told == [(Prunable.VIOLATIONS, PIECE_ROWS), (Prunable.VIOLATIONS, 7), (Prunable.VIOLATION_HOURS, 1)]
    assert store.count_violations(ViolationFilter()).total == 3
    (event,) = store.audit(9)
    assert (event.actor, event.action) == ("picket", "retention:remove")
    assert msgspec.json.decode(event.detail) == {"violations": PIECE_ROWS + 7, "violation-hours": 1}


async def test_a_sweep_that_finds_nothing_says_nothing(store: SqlStore) -> None:
    told: list[tuple[Prunable, int]] = []
    assert await retention(store, told).sweep() == {}
    assert (told, list(store.audit(9))) == ([], [])


async def test_a_database_that_refuses_does_not_end_it(store: SqlStore) -> None:
    """The next sweep comes in an hour."""
    asked = asyncio.Event()

    class Refusing:
        def prune(self, what: Prunable, bound: int, limit: int) -> int:
            loop.call_soon_threadsafe(asked.set)
            raise StoreError("the disk is full")

    loop = asyncio.get_running_loop()
    running = asyncio.create_task(Retention(Refusing(), Keep(1, 1, 1, 1), lambda: NOW_MS, lambda *_: None, _nothing).run())  # type: ignore[arg-type]  # only what is called
    await asyncio.wait_for(asked.wait(), 10)
    await asyncio.sleep(0.05)
    assert not running.done()
    running.cancel()
    await asyncio.wait({running})
