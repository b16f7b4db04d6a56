"""Who is signed in to the console, in the database: a restart signs nobody out, and control planes that share it agree.

Only hashes of session keys are kept. The one-time link is this control plane's own. Knows no cookie and no page. Times are Unix
milliseconds.
"""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.identity.tokens import token_hash
from controlplane.policy.accounts import Caller
from controlplane.store.interface import Store
from controlplane.store.stored import StoredSession

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

    def __init__(self, store: Store, clock_ms: Callable[[], int], owner: str = "") -> None:
        """``owner`` is another one where nobody is to be in as the owner any more who came in before: the owner's token."""
        self._store = store
        self._clock_ms = clock_ms
        self._owner = owner
        self._lock = threading.Lock()
        self._link: tuple[str, int] | None = None

    def begin(self, user: Caller | None, lasts_ms: int = LIFETIME_MS) -> str:
        """A new session's key."""
        key, now_ms = secrets.token_urlsafe(32), self._clock_ms()
        with self._store.transaction() as transaction:
            transaction.begin_session(
                StoredSession(token_hash(key), user, now_ms, now_ms + lasts_ms, self._proof(key)), MAX_SESSIONS
            )
        return key

    def find(self, key: str) -> Session | None:
        """The session of a key, while it lasts."""
        found = self._store.session(token_hash(key)) if key else None
        if found is None or found.expires_ms <= self._clock_ms():
            return None
        if found.user is None and found.proof != self._proof(key):
            return None
        return Session(found.user, _derived(key, "form"), found.expires_ms)

    def end(self, key: str) -> None:
        """Sign out."""
        with self._store.transaction() as transaction:
            transaction.end_session(token_hash(key))

    def _proof(self, key: str) -> str:
        return _derived(key, f"owner {self._owner}")

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


def _derived(key: str, use: str) -> str:
    # Nobody who has not the key can make it, or try words by it, also not from the database.
    return hmac.digest(key.encode(), use.encode(), "sha256").hex()
