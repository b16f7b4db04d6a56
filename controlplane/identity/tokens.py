"""One-time join tokens: making them and naming them by hash. Never stores one; the clear text is seen once."""

from __future__ import annotations

import hashlib
import secrets
from datetime import timedelta

PREFIX = "picket-join-"
DEFAULT_LIFETIME = timedelta(hours=1)


def new_token() -> str:
    """A token with 256 random bits."""
    return PREFIX + secrets.token_urlsafe(32)


def token_hash(token: str) -> str:
    """What is stored of a token: it is random, so a plain hash cannot be guessed back."""
    return hashlib.sha256(token.encode()).hexdigest()
