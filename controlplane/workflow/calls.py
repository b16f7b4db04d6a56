"""Calls that are done once, however often they are sent: by whom, under which key, and how they ended. Knows no route.

Source: https://datatracker.ietf.org/doc/html/draft-ietf-httpapi-idempotency-key-header-07
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.store.interface import Store
from controlplane.store.stored import StoredCall

#: Keys of one caller that are kept; the oldest goes.
MAX_EACH = 1_000
#: A larger answer is not kept.
MAX_ANSWER_BYTES = 256 * 1024


@dataclass(frozen=True, slots=True)
class New:
    """It was not sent before: do it."""


@dataclass(frozen=True, slots=True)
class Other:
    """The key was used for something else."""


@dataclass(frozen=True, slots=True)
class UnderWay:
    """It was begun and has not ended, or the control plane stopped in the middle of it."""


@dataclass(frozen=True, slots=True)
class Ended:
    """How it ended; ``body`` is ``None`` where it was not kept."""

    status: int
    media_type: str
    body: bytes | None


class Calls:
    """The memory of calls."""

    def __init__(self, store: Store, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._clock_ms = clock_ms

    def begin(self, actor: str, key: str, fingerprint: str) -> New | Other | UnderWay | Ended:
        """Take a key for a call; ``fingerprint`` tells what it asks for."""
        with self._store.transaction() as transaction:
            before = transaction.begin_call(actor, key, fingerprint, self._clock_ms(), MAX_EACH)
        match before:
            case None:
                return New()
            case StoredCall(fingerprint=known) if known != fingerprint:
                return Other()
            case StoredCall(status=None):
                return UnderWay()
            case StoredCall(status=int(status), media_type=media_type, body=body):
                return Ended(status, media_type, body)
        raise AssertionError(before)

    def end(self, actor: str, key: str, status: int, media_type: str, body: bytes | None) -> None:
        """Keep how it ended; without a body where that is a secret."""
        kept = body if body is not None and len(body) <= MAX_ANSWER_BYTES else None
        with self._store.transaction() as transaction:
            transaction.end_call(actor, key, status, media_type, kept)

    def forget(self, actor: str, key: str) -> None:
        """It failed by no fault of the caller's: the same key may try again."""
        with self._store.transaction() as transaction:
            transaction.forget_call(actor, key)
