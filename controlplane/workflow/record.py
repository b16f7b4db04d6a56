"""Records what sidecars report: many batches, one writer, one transaction for all that wait. Never answers a sidecar.

A batch is done only when its transaction is committed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import structlog

from controlplane.flows.model import Flow, Violation
from controlplane.store.interface import BatchReceipt, Store, StoreError

#: Observations that may wait for the writer; beyond this, sidecars wait with theirs in the spool.
MAX_WAITING_FLOWS = 200_000
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


class Recorder:
    """A queue in front of the store. Lives on one event loop; writes in a thread."""

    def __init__(
        self,
        store: Store,
        clock_ms: Callable[[], int],
        recorded: Callable[[Report, BatchReceipt, float], None],
        violated: Callable[[Sequence[Violation]], None],
    ) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._recorded = recorded
        self._violated = violated
        self._waiting: list[tuple[Report, asyncio.Future[None]]] = []
        self._waiting_flows = 0
        self._wake = asyncio.Event()
        self._room = asyncio.Event()
        self._room.set()
        self._closing = False

    async def submit(self, report: Report) -> None:
        """Return when the report is committed.

        Raises:
            StoreError: it could not be stored; the sidecar keeps it and sends it again.
        """
        while self._waiting_flows > MAX_WAITING_FLOWS:
            self._room.clear()
            await self._room.wait()
        done: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append((report, done))
        self._waiting_flows += len(report.flows)
        self._wake.set()
        await done

    async def run(self) -> None:
        """Write until closed and empty."""
        while True:
            if not self._waiting:
                if self._closing:
                    return
                self._wake.clear()
                await self._wake.wait()
                continue
            batch = self._take()
            started = time.perf_counter()
            try:
                receipts = await asyncio.to_thread(self._write, [report for report, _ in batch])
            except StoreError as error:
                _log.error("reports not stored", error=str(error), reports=len(batch))
                for _, done in batch:
                    if not done.done():
                        done.set_exception(error)
                continue
            spent = time.perf_counter() - started
            for (report, done), receipt in zip(batch, receipts, strict=True):
                if not done.done():
                    done.set_result(None)
                self._recorded(report, receipt, spent)
                if receipt.violations:
                    self._violated(receipt.violations)

    def close(self) -> None:
        """Let `run` end once everything that waits is written."""
        self._closing = True
        self._wake.set()

    def _take(self) -> list[tuple[Report, asyncio.Future[None]]]:
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

    def _write(self, reports: Sequence[Report]) -> list[BatchReceipt]:
        now_ms = self._clock_ms()
        with self._store.transaction() as transaction:
            return [
                transaction.record_batch(
                    report.workload, report.instance, report.epoch, report.sequence, report.flows, report.lost, now_ms
                )
                for report in reports
            ]
