"""Bounds how many browsers follow something live, and ends what they hold when the control plane stops. Knows no page.

Each that follows holds a thread of the API's listener, so there are fewer of them than threads.
"""

from __future__ import annotations

import enum
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

from flask import Request

#: Of each kind at once; `api.listen.THREADS` has to be well above all together.
MAX_OPEN = 4
EVENTS = "text/event-stream"
_MAX_DIGITS = 15
POLL_SECONDS = 1.0
#: A browser that left is noticed by writing to it.
HEARTBEAT_SECONDS = 10.0
#: A browser connects again by itself, and goes on where it was.
MAX_SECONDS = 600.0
_RECONNECT_MS = 2_000


@dataclass(frozen=True, slots=True)
class Event:
    """What is sent: where to go on after it, and its text on one line."""

    id: int
    data: bytes


def place_of(request: Request, after: int) -> int:
    """Where to go on: what a browser that connects again says, else where its page began."""
    said = request.headers.get("Last-Event-ID", "")
    return int(said) if said.isascii() and said.isdigit() and len(said) <= _MAX_DIGITS else after


class Kind(enum.Enum):
    """What is followed: maps that stay open take no room from those who follow the log."""

    LOG = enum.auto()
    MAP = enum.auto()


class Tails:
    """All streams of one control plane."""

    def __init__(self) -> None:
        self._rooms = {kind: threading.Semaphore(MAX_OPEN) for kind in Kind}
        self._stopping = threading.Event()

    def stop(self) -> None:
        """End all; none begins from now on."""
        self._stopping.set()

    def begin(self, kind: Kind, after: int, read: Callable[[int], tuple[Iterable[Event], int]]) -> Tail | None:
        """The chunks of one stream of server-sent events; ``None`` when there is no room for another of its kind.

        ``read`` is asked for what came after a place, and says up to where it looked; it ends the stream by StopIteration.
        Source: https://html.spec.whatwg.org/multipage/server-sent-events.html
        """
        room = self._rooms[kind]
        if self._stopping.is_set() or not room.acquire(blocking=False):
            return None
        return Tail(room, self._stopping, after, read)


class Tail(Iterator[bytes]):
    """One stream. The server closes it when its browser has left, also before the first chunk."""

    def __init__(
        self,
        room: threading.Semaphore,
        stopping: threading.Event,
        after: int,
        read: Callable[[int], tuple[Iterable[Event], int]],
    ) -> None:
        self._room: threading.Semaphore | None = room
        self._stopping = stopping
        self._after = after
        self._read = read
        self._end = time.monotonic() + MAX_SECONDS
        self._greeting = f"retry: {_RECONNECT_MS}\n\n".encode()

    def __next__(self) -> bytes:
        """The next chunk, when there is one."""
        if self._greeting:
            greeting, self._greeting = self._greeting, b""
            return greeting
        silent_since = time.monotonic()
        while time.monotonic() < self._end and not self._stopping.is_set():
            events, self._after = self._read(self._after)
            chunk = b"".join(b"id: %d\ndata: %s\n\n" % (event.id, event.data) for event in events)
            if chunk:
                return chunk
            if time.monotonic() - silent_since >= HEARTBEAT_SECONDS:
                return b"id: %d\n: nothing new\n\n" % self._after
            self._stopping.wait(POLL_SECONDS)
        raise StopIteration

    def close(self) -> None:
        """Give the room back, once."""
        room, self._room = self._room, None
        if room is not None:
            room.release()
