"""Violations by time, in bins of a round width. Pure; draws nothing."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controlplane.flows.model import Verdict

#: Widths that people read at a glance.
_WIDTHS_MS = tuple(
    seconds * 1_000
    for seconds in (
        1, 5, 15, 30, 60, 300, 900, 1_800, 3_600, 3 * 3_600, 6 * 3_600, 12 * 3_600, 86_400, 7 * 86_400, 30 * 86_400, 365 * 86_400,
    )
)  # fmt: skip
MAX_BINS = 60


@dataclass(frozen=True, slots=True)
class Point:
    """So many attempts at a time (Unix milliseconds), with one verdict."""

    at_ms: int
    verdict: Verdict
    count: int


@dataclass(frozen=True, slots=True)
class Bin:
    """Attempts from ``begin_ms`` on, for the histogram's width."""

    begin_ms: int
    denied: int
    would_deny: int


@dataclass(frozen=True, slots=True)
class Histogram:
    """Bins without gaps, oldest first; empty where nothing was counted."""

    width_ms: int
    bins: tuple[Bin, ...]


def histogram(points: Iterable[Point], least_width_ms: int, since_ms: int = 0, until_ms: int = 0) -> Histogram:
    """At most `MAX_BINS` bins over the span; where a bound of it is 0, over what there is.

    ``least_width_ms`` is how exact the times of the points are.
    """
    counted = list(points)
    if not counted:
        return Histogram(max(least_width_ms, _WIDTHS_MS[0]), ())
    first = since_ms or min(point.at_ms for point in counted)
    last = (until_ms or max(point.at_ms for point in counted) + 1) - 1
    width_ms = _width(first, max(first, last), least_width_ms)
    begin, end = first // width_ms, max(first, last) // width_ms
    sums = [[0, 0] for _ in range(end - begin + 1)]
    for point in counted:
        place = point.at_ms // width_ms - begin
        if 0 <= place < len(sums):
            sums[place][point.verdict is not Verdict.DENIED] += point.count
    return Histogram(width_ms, tuple(Bin((begin + place) * width_ms, *both) for place, both in enumerate(sums)))


def _width(first_ms: int, last_ms: int, least_ms: int) -> int:
    fitting: Sequence[int] = [
        width for width in _WIDTHS_MS if width >= least_ms and last_ms // width - first_ms // width < MAX_BINS
    ]
    return fitting[0] if fitting else max(least_ms, (last_ms - first_ms) // (MAX_BINS - 1) + 1)
