"""Violations by time."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import Verdict
from controlplane.violations.histogram import MAX_BINS, Bin, Histogram, Point, histogram

_POINTS = st.builds(
    Point, st.integers(0, 4_000_000_000_000), st.sampled_from([Verdict.DENIED, Verdict.WOULD_DENY]), st.integers(1, 2**40)
)


def test_bins_are_of_a_round_width_without_gaps() -> None:
    points = [Point(1_500, Verdict.DENIED, 2), Point(4_200, Verdict.WOULD_DENY, 3), Point(4_900, Verdict.DENIED, 1)]
    expected = (Bin(1_000, 2, 0), Bin(2_000, 0, 0), Bin(3_000, 0, 0), Bin(4_000, 1, 3))
    assert histogram(points, 1) == Histogram(1_000, expected)


def test_a_span_is_drawn_whole() -> None:
    found = histogram([Point(3_600_000, Verdict.DENIED, 1)], 1, since_ms=1, until_ms=2 * 3_600_000)
    assert (found.bins[0].begin_ms, len(found.bins) * found.width_ms) == (0, 7_200_000)


def test_nothing_has_no_bins() -> None:
    assert histogram([], 3_600_000) == Histogram(3_600_000, ())


@given(st.lists(_POINTS, min_size=1, max_size=30), st.sampled_from([1, 3_600_000]))
def test_nothing_is_lost_and_no_picture_is_too_wide(points: list[Point], least_ms: int) -> None:
    found = histogram(points, least_ms)
    assert len(found.bins) <= MAX_BINS
    assert found.width_ms >= least_ms
    assert sum(part.denied + part.would_deny for part in found.bins) == sum(point.count for point in points)
    assert histogram(reversed(points), least_ms) == found
