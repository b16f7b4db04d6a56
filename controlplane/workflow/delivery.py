"""What is known of a sink: what went there, what waits, what was lost and why. Sends nothing."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class SinkState:
    """One sink since this control plane began. Times are Unix milliseconds, ``None`` when it never happened.

    ``dropped`` did not fit into the queue, ``failed`` were given up; ``attempts`` counts those for what is being sent now.
    """

    name: str
    kind: str
    to: str
    waiting: int
    sent: int
    dropped: int
    failed: int
    attempts: int
    last_sent_ms: int | None
    last_error: str
    last_error_ms: int | None

    @property
    def state(self) -> str:
        """``ok``, ``retrying``, ``losing`` (the queue is full) or ``idle`` (nothing was sent yet)."""
        if self.attempts:
            return "losing" if self.waiting and self.dropped else "retrying"
        return "ok" if self.last_sent_ms is not None else "idle"
