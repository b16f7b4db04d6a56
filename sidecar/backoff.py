"""How long to wait before trying again: exponential, with full jitter, so that a fleet does not come back all at once.

Why full jitter: https://aws.amazon.com/blogs/architecture/exponential-backoff-and-jitter/
"""

from __future__ import annotations

import random

import msgspec


class Backoff(msgspec.Struct):
    """Waits between ``first_seconds`` and, in the end, ``most_seconds``."""

    first_seconds: float = 0.2
    most_seconds: float = 15.0
    _failures: int = 0
    _random: random.Random = msgspec.field(default_factory=random.SystemRandom)

    def next_seconds(self) -> float:
        """How long to wait after one more failure."""
        ceiling = min(self.most_seconds, self.first_seconds * 2 ** min(self._failures, 30))
        self._failures += 1
        return self._random.uniform(min(self.first_seconds, ceiling) / 2, ceiling)

    def reset(self) -> None:
        """It worked."""
        self._failures = 0
