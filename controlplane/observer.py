"""Hears what sidecars' streams do and passes it to their states, the metrics and the log. Decides nothing."""

from __future__ import annotations

import structlog

from controlplane.metrics import Metrics
from controlplane.server.ads import StreamId
from controlplane.workflow.sidecars import SidecarStates
from controlplane.xds import types
from controlplane.xds.snapshot import Snapshot
from controlplane.xds.subscription import Acked, Nacked

_log = structlog.get_logger("picket.sidecars")


class StreamObserver:
    """Implements `server.ads.Observer`."""

    def __init__(self, states: SidecarStates, metrics: Metrics) -> None:
        self._states = states
        self._metrics = metrics

    def connected(self, stream: StreamId, snapshot: Snapshot) -> None:
        """A stream began."""
        self._states.connected(str(stream.workload), stream.instance, snapshot.version)
        _log.info("connected", sidecar=str(stream.workload), instance=stream.instance)

    def sent(self, stream: StreamId, type_url: str, size_bytes: int, snapshot: Snapshot) -> None:
        """A response went out."""
        short = types.SHORT_NAMES[type_url]
        self._metrics.pushes.labels(short).inc()
        self._metrics.push_bytes.labels(short).inc(size_bytes)
        self._states.sent(str(stream.workload), stream.instance, snapshot.version)

    def answered(self, stream: StreamId, event: Acked | Nacked, snapshot: Snapshot, *, settled: bool) -> None:
        """The sidecar took a response, or refused it."""
        short = types.SHORT_NAMES[event.type_url]
        workload = str(stream.workload)
        if isinstance(event, Nacked):
            self._metrics.answers.labels(short, "nack").inc()
            self._states.nacked(workload, stream.instance, short, event.message)
            return
        self._metrics.answers.labels(short, "ack").inc()
        self._states.acked(workload, stream.instance, short, snapshot.version, snapshot.revision, settled=settled)

    def disconnected(self, stream: StreamId) -> None:
        """A stream ended."""
        self._states.disconnected(str(stream.workload), stream.instance)
        _log.info("disconnected", sidecar=str(stream.workload), instance=stream.instance)

    def refused(self, peer: str, claimed: str, reason: str) -> None:
        """A peer asked or reported for what is not its own."""
        self._metrics.refused.inc()
        _log.warning("refused", peer=peer or "unauthenticated", claimed=claimed[:200], reason=reason)
