"""All sinks of a control plane: what happens is offered to each. Called from the recorder's loop, so nothing here may wait."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

from controlplane.flows.model import Violation
from controlplane.policy.proofs import Proof, Status
from controlplane.sinks.document import SinkSettings
from controlplane.sinks.event import Event, Kind, of_failed_proof, of_incident, of_violation
from controlplane.sinks.queue import Queue
from controlplane.sinks.senders import sender
from controlplane.violations.handling import Incident
from controlplane.workflow.delivery import SinkState

STOP_SECONDS = 2.0


class Sinks:
    """The sinks. ``count`` hears of each sink's outcomes (sent, dropped, failed) with the number of events."""

    def __init__(
        self, settings: Iterable[SinkSettings], clock_ms: Callable[[], int], count: Callable[[str, str, int], None]
    ) -> None:
        def counted(name: str) -> Callable[[str, int], None]:
            return lambda outcome, events: count(name, outcome, events)

        self._queues = [
            Queue(one.name, one.kind, one.shown, one.wanted, sender(one), clock_ms, counted(one.name)) for one in settings
        ]

    def start(self) -> None:
        """Begin to send."""
        for queue in self._queues:
            queue.start()

    def violated(self, violations: Sequence[Violation]) -> None:
        """Violations were stored. What a proof tried is none: nobody meant it."""
        if self._queues:
            self._offer(of_violation(violation) for violation in violations if not violation.probe)

    def grouped(self, begun: Sequence[Incident], grown: Sequence[Incident]) -> None:
        """Incidents were stored: new ones, and those that grew."""
        if self._queues:
            self._offer(of_incident(incident, Kind.INCIDENT) for incident in begun)
            self._offer(of_incident(incident, Kind.INCIDENT_GREW) for incident in grown)

    def proved(self, proof: Proof) -> None:
        """A proof has ended; of those that failed everybody is told. May be called from any thread."""
        if proof.status is Status.FAILED:
            self._offer([of_failed_proof(proof)])

    def states(self) -> Sequence[SinkState]:
        """What is known of each."""
        return [queue.state() for queue in self._queues]

    def stop(self) -> None:
        """Send once more what waits, and end."""
        for queue in self._queues:
            queue.close()
        for queue in self._queues:
            queue.join(STOP_SECONDS)

    def _offer(self, events: Iterable[Event]) -> None:
        for event in events:
            for queue in self._queues:
                queue.offer(event)
