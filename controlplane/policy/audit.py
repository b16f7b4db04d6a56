"""The audit log as a chain: each event holds a hash over itself and the hash of the one before. Pure; never reads a log.

So no event can be changed, taken out, put in or moved without its successors' hashes being wrong. Whoever can write the whole
log can also make all of it anew, or cut off its end: against that the head (the last event's number and hash) is kept elsewhere.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Self

import msgspec

_HEAD = re.compile(r"([1-9][0-9]{0,18}):([0-9a-f]{64})")


@dataclass(frozen=True, slots=True)
class AuditEvent:
    """Who did what to what, when (Unix milliseconds). ``detail`` is JSON text, ``hash`` lower-case hexadecimal SHA-256."""

    id: int
    at_ms: int
    actor: str
    action: str
    subject: str
    detail: str
    hash: str = ""


def link(before: str, event: AuditEvent) -> str:
    """The hash of an event that follows one with the hash ``before``; empty for the first.

    Over the compact JSON array of both, with the detail as a value: how it is spaced does not count.

    Raises:
        msgspec.DecodeError: the detail is not JSON.
    """
    detail = msgspec.json.decode(event.detail or "{}")
    body = msgspec.json.encode([before, event.id, event.at_ms, event.actor, event.action, event.subject, detail])
    return hashlib.sha256(body).hexdigest()


@dataclass(frozen=True, slots=True)
class Head:
    """The end of a chain, written ``ID:HASH``."""

    id: int
    hash: str

    def __str__(self) -> str:
        return f"{self.id}:{self.hash}"

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read one.

        Raises:
            ValueError: another text.
        """
        found = _HEAD.fullmatch(text)
        if found is None:
            raise ValueError(f"{text[:100]!r} is no head: ID:HASH is wanted, as `picket audit head` prints it")
        return cls(int(found[1]), found[2])


@dataclass(frozen=True, slots=True)
class Intact:
    """Every event is as it was written. ``head`` is ``None`` of an empty log."""

    events: int
    head: Head | None


@dataclass(frozen=True, slots=True)
class Broken:
    """The first event that is not as it was written, and what is wrong with it."""

    id: int
    reason: str


class Chain:
    """Follows a log from its first event on, in any number of pieces."""

    def __init__(self, pinned: Head | None = None) -> None:
        self._pinned = pinned
        self._head: Head | None = None
        self._events = 0
        self._broken: Broken | None = None

    def follow(self, events: Iterable[AuditEvent]) -> None:
        """The next events, in the order of their ids."""
        for event in events:
            if self._broken is None:
                self._broken = self._wrong(event)
                self._head = Head(event.id, event.hash)
                self._events += 1

    def _wrong(self, event: AuditEvent) -> Broken | None:
        expected = self._events + 1
        if event.id != expected:
            return Broken(min(event.id, expected), f"event {expected} is missing, or out of its place")
        try:
            right = link("" if self._head is None else self._head.hash, event)
        except (msgspec.DecodeError, UnicodeError):
            return Broken(event.id, "its detail is not JSON")
        if event.hash != right:
            return Broken(event.id, "it was changed, or an event before it was changed together with its hash")
        if self._pinned is not None and event.id == self._pinned.id and event.hash != self._pinned.hash:
            return Broken(event.id, "it is another one than the head that was kept: the log was made anew up to here, or earlier")
        return None

    def verdict(self) -> Intact | Broken:
        """What is to be said of all of them, now that the log is at its end."""
        if self._broken is not None:
            return self._broken
        if self._pinned is not None and self._events < self._pinned.id:
            return Broken(self._events + 1, f"the log ends before event {self._pinned.id}, whose hash was kept: it was cut off")
        return Intact(self._events, self._head)
