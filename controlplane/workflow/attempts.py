"""How often somebody may try to sign in: failures of late by address and by account. In memory; knows no password.

An account is slowed down whether or not it exists, so that being slowed down tells nothing.
"""

from __future__ import annotations

import threading
from collections import OrderedDict
from collections.abc import Callable, Iterable

WINDOW_MS = 60_000
#: Failures within the window before one address, one account from one address, and one account from anywhere have to wait.
MAX_BY_ADDRESS, MAX_BY_BOTH, MAX_BY_ACCOUNT = 20, 5, 50
#: More are kept of nobody; the oldest is forgotten.
MAX_KEYS = 10_000


class Attempts:
    """Failures of late."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._failures: OrderedDict[tuple[str, str], list[int]] = OrderedDict()

    def may_try(self, address: str, account: str = "") -> bool:
        """Whether a sign-in may be tried now."""
        with self._lock:
            return all(len(self._of_late(key)) < most for key, most in _keys(address, account))

    def failed(self, address: str, account: str = "") -> None:
        """Note one that failed."""
        with self._lock:
            for key, _ in _keys(address, account):
                self._failures[key] = [*self._of_late(key), self._clock_ms()][-MAX_BY_ACCOUNT:]
                self._failures.move_to_end(key)
            while len(self._failures) > MAX_KEYS:
                self._failures.popitem(last=False)

    def _of_late(self, key: tuple[str, str]) -> list[int]:
        since_ms = self._clock_ms() - WINDOW_MS
        return [at_ms for at_ms in self._failures.get(key, ()) if at_ms > since_ms]


def _keys(address: str, account: str) -> Iterable[tuple[tuple[str, str], int]]:
    yield (address, ""), MAX_BY_ADDRESS
    if account:
        yield (address, account), MAX_BY_BOTH
        yield ("", account), MAX_BY_ACCOUNT
