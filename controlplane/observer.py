"""Hears what sidecars do and passes it to their states, the metrics and the log. Decides nothing."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import structlog

from controlplane.flows.model import Violation
from controlplane.metrics import Metrics
from controlplane.policy.rules import EXTERNAL_NAMESPACE
from controlplane.server.ads import StreamId
from controlplane.store.stored import BatchReceipt
from controlplane.workflow.record import Report
from controlplane.workflow.sidecars import SidecarStates
from controlplane.xds import types
from controlplane.xds.snapshot import Snapshot
from controlplane.xds.subscription import Acked, Nacked

_log = structlog.get_logger("picket.sidecars")


class StreamObserver:
    """Implements `server.ads.Observer`."""

    def __init__(self, states: SidecarStates, metrics: Metrics) -> None:
        self._states = states
        self._refused = metrics.refused
        # Looked up once: every push counts in four of them.
        names = types.SHORT_NAMES.items()
        self._pushes = {type_url: metrics.pushes.labels(short) for type_url, short in names}
        self._push_bytes = {type_url: metrics.push_bytes.labels(short) for type_url, short in names}
        self._acks = {type_url: metrics.answers.labels(short, "ack") for type_url, short in names}
        self._nacks = {type_url: metrics.answers.labels(short, "nack") for type_url, short in names}

    def connected(self, stream: StreamId, snapshot: Snapshot) -> None:
        """A stream began."""
        self._states.connected(stream.workload_name, stream.instance, snapshot.version, stream.issuer)
        _log.info("connected", sidecar=stream.workload_name, instance=stream.instance)

    def sent(self, stream: StreamId, type_url: str, size_bytes: int, snapshot: Snapshot) -> None:
        """A response went out."""
        self._pushes[type_url].inc()
        self._push_bytes[type_url].inc(size_bytes)
        self._states.sent(stream.workload_name, stream.instance, snapshot.version)

    def answered(self, stream: StreamId, event: Acked | Nacked, snapshot: Snapshot, *, settled: bool) -> None:
        """The sidecar took a response, or refused it."""
        short = types.SHORT_NAMES[event.type_url]
        if isinstance(event, Nacked):
            self._nacks[event.type_url].inc()
            self._states.nacked(stream.workload_name, stream.instance, short, event.message)
            return
        self._acks[event.type_url].inc()
        self._states.acked(
            stream.workload_name, stream.instance, short, snapshot.version, snapshot.revision, settled=settled,
            bundle=snapshot.bundle,
        )  # fmt: skip

    def unchanged(self, stream: StreamId, snapshot: Snapshot) -> None:
        """A newer revision, or other roots, ask for nothing else than what the sidecar runs."""
        self._states.runs(stream.workload_name, stream.instance, snapshot.version, snapshot.revision, snapshot.bundle)

    def disconnected(self, stream: StreamId) -> None:
        """A stream ended."""
        self._states.disconnected(stream.workload_name, stream.instance)
        _log.info("disconnected", sidecar=stream.workload_name, instance=stream.instance)

    def refused(self, peer: str, claimed: str, reason: str) -> None:
        """A peer asked or reported for what is not its own, or sent what cannot be read."""
        self._refused.inc()
        _log.warning("refused", peer=peer or "unauthenticated", claimed=claimed[:200], reason=reason[:500])


class ReportObserver:
    """Implements `workflow.record.Observer`."""

    def __init__(self, metrics: Metrics, violated: Callable[[Sequence[Violation]], None] = lambda _: None) -> None:
        """``violated`` hears of violations that are stored, on the recorder's loop: it must not wait."""
        self._metrics = metrics
        self._violated = violated

    def stored(self, report: Report, receipt: BatchReceipt) -> None:
        """A report is committed."""
        self._metrics.batches.labels("stored" if receipt.stored else "repeated").inc()
        if not receipt.stored:
            return
        self._metrics.flows.inc(len(report.flows))
        if receipt.gap or report.lost:
            self._metrics.lost_batches.inc(receipt.gap)
            self._metrics.lost_lines.inc(report.lost)
            _log.warning(
                "telemetry lost", sidecar=report.workload, instance=report.instance, lines=report.lost, batches=receipt.gap
            )

    def violated(self, violations: Sequence[Violation]) -> None:
        """Violations of one report are committed. Hosts outside are not told apart: there is no end of their names."""
        self._violated(violations)
        for violation in violations:
            if violation.probe:
                continue  # nobody meant it: `picket_proofs_total` counts it
            outside = violation.edge.destination.startswith(f"{EXTERNAL_NAMESPACE}/")
            destination = EXTERNAL_NAMESPACE if outside else violation.edge.destination
            self._metrics.violations.labels(destination, str(violation.verdict)).inc(violation.count)

    def committed(self, seconds: float) -> None:
        """A transaction took this long."""
        self._metrics.store_seconds.observe(seconds)

    def failed(self, reports: int) -> None:
        """So many reports were not stored; their sidecars keep them."""
        self._metrics.batches.labels("failed").inc(reports)
