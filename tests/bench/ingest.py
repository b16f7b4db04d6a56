"""Edge updates stored a second: batches of many sidecars through the recorder into SQLite, with its fsync at each commit.

The raw limit is the same sums put into a dict.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Sequence

from controlplane.flows.model import EdgeKey, Flow, Verdict, Violation
from controlplane.store.interface import BatchReceipt
from controlplane.store.sql import open_store
from controlplane.workflow.record import Recorder, Report
from tests.bench.measurement import Measurement

SIDECARS = 200
BATCHES = 10
EDGES = 100


class _Nobody:
    """Hears and does nothing."""

    def stored(self, report: Report, receipt: BatchReceipt) -> None: ...

    def violated(self, violations: Sequence[Violation]) -> None: ...

    def committed(self, seconds: float) -> None: ...

    def failed(self, reports: int) -> None: ...


def run() -> list[Measurement]:
    """Measure."""
    reports = [_report(sidecar, batch) for batch in range(BATCHES) for sidecar in range(SIDECARS)]
    updates = SIDECARS * BATCHES * EDGES
    seconds = asyncio.run(_store(reports))
    started = time.perf_counter()
    sums: dict[EdgeKey, int] = {}
    for report in reports:
        for flow in report.flows:
            sums[flow.edge] = sums.get(flow.edge, 0) + flow.count
    raw = updates / (time.perf_counter() - started)
    return [Measurement("edge updates stored, SQLite", updates / seconds, "updates/s", 20_000, at_least=True, raw=raw)]


def _edge(caller: int, destination: str) -> EdgeKey:
    return EdgeKey(f"shop/caller-{caller}", destination, 8080, "http", "GET")


def _report(sidecar: int, batch: int) -> Report:
    destination, at_ms = f"shop/service-{sidecar}", 1_700_000_000_000 + batch * 5_000
    flows = [
        Flow(_edge(n, destination), Verdict.ALLOWED, destination, "in", 7, at_ms, at_ms + 4_000) for n in range(EDGES)
    ]
    return Report(destination, "0", "0" * 32, batch + 1, 0, flows)


async def _store(reports: Sequence[Report]) -> float:
    with tempfile.TemporaryDirectory(prefix="picket-bench-") as directory:
        store = open_store(f"sqlite:///{directory}/picket.db")
        try:
            recorder = Recorder(store, lambda: 1_700_000_100_000, _Nobody())
            running = asyncio.create_task(recorder.run())
            started = time.perf_counter()
            waiting = []
            for report in reports:
                await recorder.room()
                waiting.append(recorder.submit(report))
            errors = [error for error in await asyncio.gather(*waiting) if error is not None]
            seconds = time.perf_counter() - started
            recorder.close()
            await running
            if errors:
                raise errors[0]
            if len(store.edges()) != SIDECARS * EDGES:
                raise RuntimeError("not every edge was stored")
            return seconds
        finally:
            store.close()
