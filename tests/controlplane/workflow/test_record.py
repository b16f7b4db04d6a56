"""The recorder on a real SQLite store: one transaction for all that wait, and nobody suffers for another."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, closing
from pathlib import Path

import pytest

from controlplane.flows.model import EdgeKey, Flow, Verdict, Violation
from controlplane.store.interface import StoreError
from controlplane.store.sql import SqlStore
from controlplane.store.stored import BatchReceipt
from controlplane.workflow import record
from controlplane.workflow.record import Recorder, Report
from tests.harness.mesh import NOW_MS

EPOCH = "a" * 32
#: The sidecar whose first batch a trigger in the database refuses, by the port in it; its second alone would be stored.
POISON = "poison"
POISON_PORT = 666


class Heard:
    """What the recorder told."""

    def __init__(self) -> None:
        self.stored_sequences: list[tuple[str, int]] = []
        self.violations: list[Violation] = []
        self.transactions = 0
        self.failures = 0

    def stored(self, report: Report, receipt: BatchReceipt) -> None:
        self.stored_sequences.append((report.instance, report.sequence))

    def violated(self, violations: Sequence[Violation]) -> None:
        self.violations += violations

    def committed(self, seconds: float) -> None:
        self.transactions += 1

    def failed(self, reports: int) -> None:
        self.failures += reports


def report(instance: str, sequence: int, verdict: Verdict = Verdict.ALLOWED, flows: int = 1) -> Report:
    """A batch of one of the cart's sidecars."""
    port = POISON_PORT if (instance, sequence) == (POISON, 1) else 7070
    flow = Flow(EdgeKey("shop/web", "shop/cart", port, "grpc"), verdict, "shop/cart", "in", 1, NOW_MS, NOW_MS)
    return Report("shop/cart", instance, EPOCH, sequence, 0, [flow] * flows)


def poison(path: Path) -> None:
    """Make the database refuse one batch of one sidecar."""
    with closing(sqlite3.connect(path / "picket.db")) as database:
        database.execute(
            f"CREATE TRIGGER poison BEFORE INSERT ON edges WHEN NEW.port = {POISON_PORT} BEGIN SELECT RAISE(ABORT, 'no'); END"
        )
        database.commit()


@asynccontextmanager
async def running(recorder: Recorder) -> AsyncIterator[None]:
    """Write in the background; what waits at the end is written before this returns."""
    task = asyncio.create_task(recorder.run())
    try:
        yield
    finally:
        recorder.close()
        async with asyncio.timeout(20):
            await task


async def test_what_waits_is_one_transaction(store: SqlStore) -> None:
    """Many sidecars cost one commit; a violation is told with what it adds."""
    heard = Heard()
    recorder = Recorder(store, lambda: NOW_MS, heard)
    waiting = [recorder.submit(report(f"cart-{number}", 1)) for number in range(5)]
    waiting.append(recorder.submit(report("cart-5", 1, Verdict.DENIED)))
    assert recorder.waiting_flows == 6
    async with running(recorder):
        assert await asyncio.gather(*waiting) == [None] * 6
    assert heard.transactions == 1
    assert [edge.count for edge in store.edges()] == [5]
    assert [violation.verdict for violation in heard.violations] == [Verdict.DENIED]
    assert recorder.waiting_flows == 0


async def test_one_batch_that_cannot_be_stored_takes_no_other_with_it(store: SqlStore, tmp_path: Path) -> None:
    """The others are stored, each by itself; those of the same sidecar behind it are not, or they would make a gap."""
    poison(tmp_path)
    heard = Heard()
    recorder = Recorder(store, lambda: NOW_MS, heard)
    good = [recorder.submit(report("cart-0", 1)), recorder.submit(report("cart-1", 1))]
    bad = [recorder.submit(report(POISON, sequence)) for sequence in (1, 2)]
    good.append(recorder.submit(report("cart-0", 2)))
    async with running(recorder):
        assert await asyncio.gather(*good) == [None] * 3
        assert all(isinstance(error, StoreError) for error in await asyncio.gather(*bad))
    assert heard.stored_sequences == [("cart-0", 1), ("cart-1", 1), ("cart-0", 2)]
    assert heard.failures == 2
    assert [edge.count for edge in store.edges()] == [3]


async def test_what_waits_behind_a_failure_fails_with_it(store: SqlStore, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also in a later transaction: a sequence number that comes too early is a gap for ever."""
    monkeypatch.setattr(record, "MAX_TRANSACTION_FLOWS", 1)
    poison(tmp_path)
    heard = Heard()
    recorder = Recorder(store, lambda: NOW_MS, heard)
    bad = [recorder.submit(report(POISON, 1)), recorder.submit(report(POISON, 2))]
    good = recorder.submit(report("cart-0", 1))
    async with running(recorder):
        assert all(isinstance(error, StoreError) for error in await asyncio.gather(*bad))
        assert await good is None
    assert heard.stored_sequences == [("cart-0", 1)]
    assert recorder.waiting_flows == 0


async def test_a_full_queue_lets_nobody_in_until_it_is_written(store: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory is bounded by making sidecars wait."""
    monkeypatch.setattr(record, "MAX_WAITING_FLOWS", 10)
    recorder = Recorder(store, lambda: NOW_MS, Heard())
    await recorder.room()
    stored = recorder.submit(report("cart-0", 1, flows=10))
    entering = asyncio.create_task(recorder.room())
    await asyncio.sleep(0)
    assert not entering.done()
    async with running(recorder), asyncio.timeout(20):
        await entering
    assert stored.result() is None


async def test_closing_writes_what_waits_and_takes_no_more(store: SqlStore) -> None:
    """Whoever comes later is told so, and keeps the batch."""
    recorder = Recorder(store, lambda: NOW_MS, Heard())
    before = recorder.submit(report("cart-0", 1))
    recorder.close()
    after = recorder.submit(report("cart-0", 2))
    await recorder.run()
    assert before.result() is None
    assert isinstance(after.result(), StoreError)
    assert [edge.count for edge in store.edges()] == [1]
