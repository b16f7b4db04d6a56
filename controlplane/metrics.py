"""Prometheus metrics of the control plane, in a registry of its own. Labels are workloads and types, never addresses."""

from __future__ import annotations

from collections.abc import Callable

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

from controlplane.policy.proofs import Status


class Metrics:
    """Everything that is counted."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self.pushes = self._counter("picket_xds_pushes_total", "xDS responses sent", "type")
        self.push_bytes = self._counter("picket_xds_push_bytes_total", "Bytes of xDS responses", "type")
        self.answers = self._counter("picket_xds_answers_total", "Answers of sidecars", "type", "answer")
        self.refused = self._counter("picket_refused_total", "Requests, reports and peers that were refused")
        self.flows = self._counter("picket_flows_total", "Flows stored")
        self.batches = self._counter("picket_batches_total", "Telemetry batches", "outcome")
        self.lost_lines = self._counter("picket_lost_lines_total", "Log lines that sidecars could not keep")
        self.lost_batches = self._counter("picket_lost_batches_total", "Telemetry batches missing before one that came")
        self.violations = self._counter("picket_violations_total", "Violations stored", "destination", "verdict")
        self.proofs = self._counter("picket_proofs_total", "Forbidden connections that sidecars were asked to try", "result")
        for result in (Status.PROVEN, Status.FAILED, Status.NOT_TRIED):
            self.proofs.labels(str(result))  # there from the start: of what was never less, Prometheus sees no increase
        self.sink_events = self._counter("picket_sink_events_total", "Events for sinks", "sink", "outcome")
        self.certificates = self._counter("picket_certificates_total", "Certificates signed", "how")
        self.removed_rows = self._counter("picket_removed_rows_total", "Rows removed because they were out of date", "kind")
        self.store_seconds = Histogram(
            "picket_store_transaction_seconds", "Time of a telemetry transaction", registry=self.registry
        )

    def gauge(self, name: str, text: str, read: Callable[[], float]) -> None:
        """A value that is read when it is asked for."""
        Gauge(name, text, registry=self.registry).set_function(read)

    def render(self) -> bytes:
        """The exposition text."""
        return generate_latest(self.registry)

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(name, text, labels, registry=self.registry)
