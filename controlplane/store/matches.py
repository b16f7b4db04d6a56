"""Methods and paths as text in a column: a JSON list of [method, path]."""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from controlplane.policy.rules import HttpMatch


def dump_matches(http: Iterable[HttpMatch]) -> str:
    """As text."""
    return msgspec.json.encode([[match.method, match.path] for match in http]).decode()


def load_matches(text: str) -> tuple[HttpMatch, ...]:
    """Read what `dump_matches` wrote."""
    return tuple(HttpMatch(method, path) for method, path in msgspec.json.decode(text, type=list[tuple[str, str]]))
