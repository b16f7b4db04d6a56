"""Adds up the telemetry batches of one write transaction and writes their sums at its end. Commits nothing itself.

Summing first makes storing cost edges, not flows; writing in the order of keys keeps two writers from waiting crosswise.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from sqlalchemy import Connection, select

from controlplane.flows.model import Flow, Verdict
from controlplane.graph.watch import Watch
from controlplane.store import tables
from controlplane.store.history import HistoryRecording, Hours
from controlplane.store.known import Known
from controlplane.store.learning import MAX_COUNT, EdgeRecording, Learned
from controlplane.store.proofs import note_violations, probes_among
from controlplane.store.statements import change_rows, upsert
from controlplane.store.stored import GAP_TOLD_MS, BatchReceipt
from controlplane.store.violations import ViolationRecording
from controlplane.store.watching import WatchRecording

_REPORT = {"last_report_ms": "greatest", "blind_since_ms": "known", "gap_ms": "known", "lost": "add"}


@dataclass(frozen=True, slots=True)
class Stored:
    """What is known to be stored already, over all transactions."""

    edges: Learned = field(default_factory=Learned)
    watches: Known[str, Watch] = field(default_factory=Known)
    hours: Hours = field(default_factory=Hours)


@dataclass(slots=True)
class _Report:
    """What a sidecar's batches of this transaction say of the sidecar."""

    last_ms: int
    blind_since_ms: int | None = None
    gap_ms: int | None = None
    lost: int = 0


class Recording:
    """The batches of one transaction. ``finish`` must be called before the commit, ``committed`` after it."""

    def __init__(self, connection: Connection, violation_window_ms: int, stored: Stored) -> None:
        self._connection = connection
        self._violations = ViolationRecording(connection, violation_window_ms)
        self._edges = EdgeRecording(connection, stored.edges)
        self._history = HistoryRecording(connection, stored.hours, stored.edges.shapes)
        self._watches = WatchRecording(connection, stored.watches)
        self._sequences: dict[tuple[str, str, str], int] = {}
        self._reports: dict[tuple[str, str], _Report] = {}
        self._met: set[tuple[str, str]] = set()
        self._denied: dict[str, int] = {}

    def add(
        self, workload: str, instance: str, epoch: str, sequence: int, flows: Sequence[Flow], lost: int, now_ms: int
    ) -> BatchReceipt:
        """Take one batch in; see `interface.Transaction.record_batch`. Without an instance it is no sidecar's."""
        report = self._reports.setdefault((workload, instance), _Report(now_ms))
        report.last_ms = max(report.last_ms, now_ms)
        key = (workload, instance, epoch)
        last = self._last_sequence(key)
        if sequence <= last:
            return BatchReceipt(stored=False)
        self._sequences[key] = sequence
        gap = sequence - last - 1
        if gap or lost:
            report.gap_ms = now_ms
            if report.blind_since_ms is None:
                report.blind_since_ms = self._blind_since(workload, instance, now_ms)
        report.lost += min(lost, MAX_COUNT)
        flows, probes = probes_among(self._connection, flows)
        self._edges.add((flow for flow in flows if flow.verdict is Verdict.ALLOWED), instance)
        self._history.add(flows, now_ms, from_sidecar=bool(instance))
        if instance:
            self._watches.hear(workload, flows, min(lost + gap, MAX_COUNT), now_ms, "" if last else f"{instance}/{epoch}")
            denied = sum(max(min(flow.count, MAX_COUNT), 1) for flow in flows if flow.verdict is Verdict.DENIED)
            self._denied[workload] = self._denied.get(workload, 0) + denied
        refused = [flow for flow in (*flows, *probes) if flow.verdict is not Verdict.ALLOWED]
        violations = self._violations.add(refused)
        if probes:
            note_violations(self._connection, violations)
        return BatchReceipt(stored=True, gap=gap, violations=violations)

    def finish(self) -> None:
        """Write the sums."""
        epochs = [
            {
                "workload": workload,
                "instance": instance,
                "epoch": epoch,
                "sequence": sequence,
                "stored_ms": self._reports[workload, instance].last_ms,
            }
            for (workload, instance, epoch), sequence in sorted(self._sequences.items())
        ]
        change_rows(self._connection, tables.epochs, epochs, {"sequence": "new", "stored_ms": "new"})
        reports = [
            {
                "workload": workload,
                "instance": instance,
                "last_report_ms": report.last_ms,
                "blind_since_ms": report.blind_since_ms,
                "gap_ms": report.gap_ms,
                "lost": report.lost,
            }
            for (workload, instance), report in sorted(self._reports.items())
            if instance
        ]
        upsert(self._connection, tables.reports, reports, _REPORT)
        upsert(self._connection, tables.sidecars, [_blank_sidecar(*key) for key in sorted(self._met) if key[1]], {})
        denials = [
            {"workload": workload, "count": min(count, MAX_COUNT)} for workload, count in sorted(self._denied.items()) if count
        ]
        upsert(self._connection, tables.denials, denials, {"count": "add"})
        self._edges.finish()
        self._history.finish()
        self._watches.finish()
        self._violations.finish()

    def committed(self) -> None:
        """What was written is stored."""
        self._edges.committed()
        self._history.committed()
        self._watches.committed()

    def _blind_since(self, workload: str, instance: str, now_ms: int) -> int:
        """When the gap began that reports go missing in now."""
        table = tables.reports.c
        query = select(table.blind_since_ms, table.gap_ms).where(table.workload == workload, table.instance == instance)
        before = self._connection.execute(query).first()
        if before is None or before.blind_since_ms is None:
            return now_ms
        # A control plane of the version before, on the same database, writes the beginning alone.
        if now_ms - (before.gap_ms or before.blind_since_ms) > GAP_TOLD_MS:
            return now_ms
        return int(before.blind_since_ms)

    def _last_sequence(self, key: tuple[str, str, str]) -> int:
        """The last stored sequence of an epoch, 0 before the first; its row is locked, so that no replay runs beside this one."""
        known = self._sequences.get(key)
        if known is not None:
            return known
        table = tables.epochs.c
        workload, instance, epoch = key
        query = (
            select(table.sequence)
            .where(table.workload == workload, table.instance == instance, table.epoch == epoch)
            .with_for_update()
        )
        last = self._connection.execute(query).scalar()
        if last is None:
            row = {"workload": workload, "instance": instance, "epoch": epoch, "sequence": 0, "stored_ms": 0}
            upsert(self._connection, tables.epochs, [row], {})
            self._met.add((workload, instance))
            # Another writer may have made the row meanwhile; then this waits for it and reads what it stored.
            last = self._connection.execute(query).scalar_one()
        self._sequences[key] = int(last)
        return int(last)


def _blank_sidecar(workload: str, instance: str) -> dict[str, object]:
    return {
        "workload": workload, "instance": instance, "connected": False, "sent_version": "", "acked_version": "", "revision": 0,
        "nack_type": "", "nack_message": "", "agent_version": "", "envoy_version": "", "capture": "",
        "image_digest": "", "address": "", "bundle": "", "issuer": "",
    }  # fmt: skip
