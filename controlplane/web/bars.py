"""A histogram as bars of a drawing that the server makes. Counts nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass

from controlplane.violations.histogram import Bin, Histogram

#: The drawing's own units.
WIDTH = 600
HEIGHT = 100
_GAP = 1.5
#: A bar that stands for something is seen.
_LEAST = 2.0


@dataclass(frozen=True, slots=True)
class Bar:
    """A time's two parts, the denied one below. ``address`` leads to what it counts."""

    part: Bin
    x: float
    width: float
    denied_height: float
    would_deny_height: float
    address: str


def bars(drawn: Histogram, address: Callable[[int, int], str]) -> Iterator[Bar]:
    """The bars from left to right; ``address`` takes a span in Unix milliseconds."""
    most = max((part.denied + part.would_deny for part in drawn.bins), default=0) or 1
    step = WIDTH / max(1, len(drawn.bins))
    for place, part in enumerate(drawn.bins):
        span = part.begin_ms, part.begin_ms + drawn.width_ms
        yield Bar(
            part, round(place * step, 2), round(max(step - _GAP, 1), 2), _height(part.denied, most), _height(part.would_deny, most),
            address(*span),
        )  # fmt: skip


def _height(count: int, most: int) -> float:
    return round(max(_LEAST, count / most * HEIGHT), 2) if count else 0.0
