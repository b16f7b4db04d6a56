"""A bounded queue before one sink, with a thread that sends and tries again. Whoever offers never waits; what does not fit counts.

A batch is sent at least once: a receiver that took it and did not say so gets it again.
"""

from __future__ import annotations

import random
import threading
from collections import deque
from collections.abc import Callable

import structlog

from controlplane.sinks.event import Event, Filter
from controlplane.sinks.senders import NotSentError, Send
from controlplane.workflow.delivery import SinkState

MAX_WAITING = 10_000
BATCH = 100
#: The first pause before a batch is sent again; each next one is twice as long, up to the last.
FIRST_PAUSE_SECONDS, LAST_PAUSE_SECONDS = 1.0, 60.0
#: Attempts before a batch is given up, after about ten minutes: later ones wait behind it.
MAX_ATTEMPTS = 15
_log = structlog.get_logger("picket.sinks")


class Queue:
    """One sink. ``count`` hears outcomes (sent, dropped, failed) with the number of events."""

    def __init__(
        self, name: str, kind: str, to: str, wanted: Filter, send: Send, clock_ms: Callable[[], int],
        count: Callable[[str, int], None], first_pause_seconds: float = FIRST_PAUSE_SECONDS,
    ) -> None:  # fmt: skip
        self._name, self._kind, self._to = name, kind, to
        self._wanted = wanted
        self._send = send
        self._clock_ms = clock_ms
        self._count = count
        self._first_pause_seconds = first_pause_seconds
        self._waiting: deque[Event] = deque()
        self._changed = threading.Condition()
        self._stopping = False
        self._sent = self._dropped = self._failed = self._attempts = 0
        self._last_sent_ms: int | None = None
        self._last_error = ""
        self._last_error_ms: int | None = None
        self._thread = threading.Thread(target=self._run, name=f"picket-sink-{name}", daemon=True)

    def start(self) -> None:
        """Begin to send."""
        self._thread.start()

    def offer(self, event: Event) -> None:
        """Take an event, if it is wanted and fits. Never blocks but for the moment in which another thread looks at the queue."""
        if not self._wanted.wants(event):
            return
        with self._changed:
            if len(self._waiting) < MAX_WAITING:
                self._waiting.append(event)
                self._changed.notify_all()
                return
            self._dropped += 1
        self._count("dropped", 1)

    def state(self) -> SinkState:
        """What is known of it now."""
        with self._changed:
            return SinkState(
                self._name, self._kind, self._to, len(self._waiting), self._sent, self._dropped, self._failed, self._attempts,
                self._last_sent_ms, self._last_error, self._last_error_ms,
            )  # fmt: skip

    def close(self) -> None:
        """Send once more what waits, and end."""
        with self._changed:
            self._stopping = True
            self._changed.notify_all()

    def join(self, timeout_seconds: float) -> None:
        """Wait until it has ended."""
        if self._thread.ident is not None:
            self._thread.join(timeout_seconds)

    def _run(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._stopping)
                batch = [self._waiting[index] for index in range(min(BATCH, len(self._waiting)))]
            if not batch:
                return
            if not self._deliver(batch):
                return
            with self._changed:
                for _ in batch:
                    self._waiting.popleft()
                self._attempts = 0

    def _deliver(self, batch: list[Event]) -> bool:
        """Send a batch or give it up; ``False`` when it is to end meanwhile."""
        while True:
            try:
                self._send(batch)
            except NotSentError as error:
                if not self._note_failure(error, len(batch)):
                    return True
            else:
                with self._changed:
                    self._sent += len(batch)
                    self._last_sent_ms = self._clock_ms()
                self._count("sent", len(batch))
                return True
            if self._paused():
                return False

    def _note_failure(self, error: NotSentError, events: int) -> bool:
        """Whether to try again."""
        with self._changed:
            self._attempts += 1
            self._last_error, self._last_error_ms = str(error), self._clock_ms()
            again = error.later and self._attempts < MAX_ATTEMPTS
            if not again:
                self._failed += events
            first = self._attempts == 1
        if first or not again:
            _log.warning("sink", sink=self._name, error=str(error), given_up=0 if again else events)
        if not again:
            self._count("failed", events)
        return again

    def _paused(self) -> bool:
        """Wait before the next attempt; whether it is to end instead."""
        longest = min(self._first_pause_seconds * 2 ** (self._attempts - 1), LAST_PAUSE_SECONDS)
        with self._changed:
            # Not all at the same moment, when a receiver of many comes back.
            return self._changed.wait_for(lambda: self._stopping, longest * random.uniform(0.5, 1.0))  # noqa: S311  # no secret
