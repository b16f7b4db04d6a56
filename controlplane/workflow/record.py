"""Records what sidecars report: many batches, one writer, one transaction for all that wait. Never answers a sidecar.

A batch is done only when its transaction is committed. Where one cannot be stored, those of the same sidecar behind it are
not stored either: a sequence number that comes too early would make the ones before it a gap for ever.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Protocol

import structlog

from controlplane.flows.model import Flow, Violation
from controlplane.store.interface import Store, StoreError
from controlplane.store.stored import BatchReceipt

#: Observations that may wait for the writer; beyond this, sidecars wait with theirs in the spool.
MAX_WAITING_FLOWS = 100_000
#: Observations in one transaction.
MAX_TRANSACTION_FLOWS = 20_000
_log = structlog.get_logger("picket.record")


@dataclass(frozen=True, slots=True)
class Report:
    """One batch of one sidecar, resolved to flows."""

    workload: str
    instance: str
    epoch: str
    sequence: int
    lost: int
    flows: Sequence[Flow]

    @property
    def series(self) -> tuple[str, str, str]:
        """Whose sequence numbers it follows."""
        return (self.workload, self.instance, self.epoch)


class Observer(Protocol):
    """Hears what becomes of reports. Called on the recorder's event loop."""

    def stored(self, report: Report, receipt: BatchReceipt) -> None:
        """A report is committed."""

    def violated(self, violations: Sequence[Violation]) -> None:
        """Violations of one report are committed."""

    def committed(self, seconds: float) -> None:
        """A transaction took this long."""

    def failed(self, reports: int) -> None:
        """So many reports were not stored; their sidecars keep them."""


_Waiting = tuple[Report, asyncio.Future[StoreError | None]]


class Recorder:
    """A queue in front of the store. Lives on one event loop; writes in a thread."""

    def __init__(self, store: Store, clock_ms: Callable[[], int], observer: Observer) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._observer = observer
        self._waiting: list[_Waiting] = []
        self._waiting_flows = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._closing = False

    @property
    def waiting_flows(self) -> int:
        """Observations that wait for the writer."""
        return self._waiting_flows

    async def room(self) -> None:
        """Return when another report may be submitted; submit it before waiting for anything else."""
        while self._waiting_flows >= MAX_WAITING_FLOWS:
            self._room.clear()
            await self._room.wait()

    def submit(self, report: Report) -> asyncio.Future[StoreError | None]:
        """Queue a report. Done when it is committed (``None``), or could not be: the sidecar keeps it and sends it again."""
        done: asyncio.Future[StoreError | None] = asyncio.get_running_loop().create_future()
        if self._closing:
            done.set_result(StoreError("the control plane is stopping"))
            return done
        self._waiting.append((report, done))
        self._waiting_flows += len(report.flows)
        self._wake.set()
        return done

    async def run(self) -> None:
        """Write until closed and empty."""
        while True:
            if self._waiting:
                await self._store_some(self._take())
            elif self._closing:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def close(self) -> None:
        """Let `run` end once everything that waits is written."""
        self._closing = True
        self._wake.set()

    def _take(self) -> list[_Waiting]:
        taken, flows = 0, 0
        for report, _ in self._waiting:
            taken += 1
            flows += len(report.flows)
            if flows >= MAX_TRANSACTION_FLOWS:
                break
        batch, self._waiting = self._waiting[:taken], self._waiting[taken:]
        self._waiting_flows -= flows
        self._room.set()
        return batch

    async def _store_some(self, batch: list[_Waiting]) -> None:
        """One transaction for all; where it fails and the database lives, one for each, so that none suffers for another."""
        error = await self._store_together(batch)
        if error is None:
            return
        _log.error("reports not stored", error=str(error), reports=len(batch))
        alive = len(batch) > 1 and await asyncio.to_thread(self._answers)
        if not alive:
            self._fail(batch, error)
            self._fail_followers(batch, error)
            return
        failed: dict[tuple[str, str, str], StoreError] = {}
        for item in batch:
            alone = failed.get(item[0].series) or await self._store_together([item])
            if alone is not None:
                failed[item[0].series] = alone
                self._fail([item], alone)
                self._fail_followers([item], alone)

    async def _store_together(self, batch: list[_Waiting]) -> StoreError | None:
        started = time.perf_counter()
        try:
            receipts = await asyncio.to_thread(self._write, [report for report, _ in batch])
        except StoreError as error:
            return error
        self._observer.committed(time.perf_counter() - started)
        for (report, done), receipt in zip(batch, receipts, strict=True):
            if not done.done():
                done.set_result(None)
            self._observer.stored(report, receipt)
            if receipt.violations:
                self._observer.violated(receipt.violations)
        return None

    def _fail(self, batch: Sequence[_Waiting], error: StoreError) -> None:
        self._observer.failed(len(batch))
        for _, done in batch:
            if not done.done():
                done.set_result(error)

    def _fail_followers(self, batch: Sequence[_Waiting], error: StoreError) -> None:
        """Fail what waits behind reports that could not be stored."""
        broken = {report.series for report, _ in batch}
        self._fail([item for item in self._waiting if item[0].series in broken], error)
        self._waiting = [item for item in self._waiting if item[0].series not in broken]
        self._waiting_flows = sum(len(report.flows) for report, _ in self._waiting)
        self._room.set()

    def _answers(self) -> bool:
        try:
            self._store.ping()
        except StoreError:
            return False
        return True

    def _write(self, reports: Sequence[Report]) -> list[BatchReceipt]:
        now_ms = self._clock_ms()
        with self._store.transaction() as transaction:
            return [
                transaction.record_batch(
                    report.workload, report.instance, report.epoch, report.sequence, report.flows, report.lost, now_ms
                )
                for report in reports
            ]
