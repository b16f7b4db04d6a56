"""Sign-ins under way at the identity provider: each is taken once, by the browser that began it, at whichever control plane.

The database holds hashes; what else belongs to a sign-in is derived from what the browser keeps. Times are Unix milliseconds.
"""

from __future__ import annotations

import hmac
import secrets
from base64 import urlsafe_b64encode
from collections.abc import Callable
from dataclasses import dataclass

from controlplane.identity.tokens import token_hash
from controlplane.store.interface import Store
from controlplane.store.stored import BegunSignIn

#: How long somebody may take at the provider, and how many may at once.
WAIT_MS = 600_000
MAX_WAITING = 1_000


@dataclass(frozen=True, slots=True)
class Begun:
    """A sign-in: ``state`` goes to the provider and comes back, ``browser`` is what the browser's cookie holds."""

    state: str
    browser: str

    @property
    def nonce(self) -> str:
        """What the provider's token has to hold."""
        return self._derived("nonce")

    @property
    def verifier(self) -> str:
        """What redeems the code (RFC 7636): 43 characters."""
        return self._derived("verifier")

    def _derived(self, use: str) -> str:
        # Whoever sees the state has not the browser's secret, so neither of both.
        made = hmac.digest(self.browser.encode(), f"{use} {self.state}".encode(), "sha256")
        return urlsafe_b64encode(made).decode().rstrip("=")


class Waiting:
    """Those of one mesh."""

    def __init__(self, store: Store, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._clock_ms = clock_ms

    def begin(self) -> Begun:
        """A new one."""
        made, now_ms = Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(32)), self._clock_ms()
        row = BegunSignIn(token_hash(made.state), token_hash(made.browser), now_ms, now_ms + WAIT_MS)
        with self._store.transaction() as transaction:
            transaction.begin_sign_in(row, MAX_WAITING)
        return made

    def take(self, state: str, browser: str) -> Begun | None:
        """What was begun with this state by this browser, while it waits; whoever asks, it is used up."""
        with self._store.transaction() as transaction:
            found = transaction.take_sign_in(token_hash(state))
        if found is None or found.expires_ms <= self._clock_ms():
            return None
        return Begun(state, browser) if secrets.compare_digest(found.browser, token_hash(browser)) else None
