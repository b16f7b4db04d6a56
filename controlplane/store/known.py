"""What is known to be stored, so that it need not be read again. Never holds what is not committed."""

from __future__ import annotations

import threading
from collections.abc import Hashable, Iterable
from typing import Generic, TypeVar

MAX_KNOWN = 20_000
Key = TypeVar("Key", bound=Hashable)
Value = TypeVar("Value")


class Known(Generic[Key, Value]):
    """What is known to be stored, the last stored of it. Safe to use from several threads; its values are never changed."""

    def __init__(self, limit: int = MAX_KNOWN) -> None:
        self._limit = limit
        self._lock = threading.Lock()
        self._values: dict[Key, Value] = {}

    def get(self, key: Key) -> Value | None:
        """One, if it is known."""
        return self._values.get(key)

    def put(self, values: Iterable[tuple[Key, Value]]) -> None:
        """Remember what is committed; what was remembered first is forgotten where there is too much."""
        with self._lock:
            for key, value in values:
                self._values.pop(key, None)
                self._values[key] = value
            for key in list(self._values)[: max(len(self._values) - self._limit, 0)]:
                del self._values[key]

    def forget(self, keys: Iterable[Key]) -> None:
        """It is not stored any more."""
        with self._lock:
            for key in keys:
                self._values.pop(key, None)
