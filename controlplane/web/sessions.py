"""Who is signed in to the console, in memory: a restart signs everybody out. Knows no cookie and no page.

Only hashes of session keys are kept. Times are Unix milliseconds.
"""

from __future__ import annotations

import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.identity.tokens import token_hash
from controlplane.policy.accounts import Caller

LIFETIME_MS = 12 * 3_600_000
LINK_LIFETIME_MS = 3_600_000
#: More at once are no people; the oldest is signed out.
MAX_SESSIONS = 1_000


@dataclass(frozen=True, slots=True)
class Session:
    """One person's session; ``user`` is ``None`` for the owner. ``form_key`` is what each of its forms brings back."""

    user: Caller | None
    form_key: str
    expires_ms: int


class Sessions:
    """All sessions, and the one-time link where there is one."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._open: dict[str, Session] = {}
        self._link: tuple[str, int] | None = None

    def begin(self, user: Caller | None, lasts_ms: int = LIFETIME_MS) -> str:
        """A new session's key."""
        key, now_ms = secrets.token_urlsafe(32), self._clock_ms()
        with self._lock:
            self._open = {known: session for known, session in self._open.items() if session.expires_ms > now_ms}
            while len(self._open) >= MAX_SESSIONS:
                del self._open[next(iter(self._open))]
            self._open[token_hash(key)] = Session(user, secrets.token_urlsafe(32), now_ms + lasts_ms)
        return key

    def find(self, key: str) -> Session | None:
        """The session of a key, while it lasts."""
        found = self._open.get(token_hash(key))
        return found if found is not None and found.expires_ms > self._clock_ms() else None

    def end(self, key: str) -> None:
        """Sign out."""
        with self._lock:
            self._open.pop(token_hash(key), None)

    def new_link(self) -> str:
        """The code of a link that signs the owner in once, within an hour; an older one is void."""
        code = secrets.token_urlsafe(32)
        with self._lock:
            self._link = token_hash(code), self._clock_ms() + LINK_LIFETIME_MS
        return code

    def use_link(self, code: str) -> bool:
        """Use a link up; ``False`` when it is unknown, used or over."""
        with self._lock:
            if self._link is None or not secrets.compare_digest(self._link[0], token_hash(code)):
                return False
            expires_ms, self._link = self._link[1], None
            return expires_ms > self._clock_ms()
