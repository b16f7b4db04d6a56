"""Evidence of one edge: the same in whatever order uses come, and bounded."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.evidence import DAY_MS, HOUR_MS, MAX_DAYS, Evidence, hour_of_week

MONDAY_MS = 1_699_833_600_000  # 2023-11-13
TIMES = st.integers(0, 200).map(lambda hours: MONDAY_MS + hours * 20 * HOUR_MS) | st.integers(1, 253_402_300_799_999)
Use = tuple[int, tuple[int, int], str, str]
USES = st.tuples(st.integers(0, 5), st.tuples(TIMES, TIMES), st.sampled_from(["", "r1", "r2"]), st.sampled_from(["7", "8", "x"]))


def evidence(uses: list[Use]) -> Evidence:
    (count, times, *_), *rest = uses
    seen = Evidence(count, min(times), max(times))
    for count, times, _, _ in rest:
        seen.see(count, min(times), max(times))
    for _, times, replica, value in uses:
        if replica:
            seen.came_from(replica)
            seen.ran(f"sha256:{replica}", min(times), max(times))
        seen.asked_for([value, "same"])
    return seen


@given(st.lists(USES, min_size=2, max_size=20), st.randoms(use_true_random=False), st.integers(1, 19))
def test_order_and_merging_change_nothing(uses: list[Use], chance: random.Random, cut: int) -> None:
    other = chance.sample(uses, len(uses))
    cut = min(cut, len(uses) - 1)
    merged = evidence(other[:cut])
    merged.merge(evidence(other[cut:]))
    assert evidence(uses) == evidence(other) == merged


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=20))
def test_days_and_hours_are_those_of_both_ends(times: list[tuple[int, int]]) -> None:
    seen = Evidence(1, min(times[0]), max(times[0]))
    for pair in times[1:]:
        seen.see(1, min(pair), max(pair))
    ends = [end for pair in times for end in pair]
    last = max(ends) // DAY_MS
    back = {last - end // DAY_MS for end in ends if last - end // DAY_MS < MAX_DAYS}
    assert {place for place in range(MAX_DAYS + 5) if seen.days >> place & 1} == back
    assert seen.days_used == len(back)
    assert {place for place in range(170) if seen.hours >> place & 1} == {hour_of_week(end) for end in ends}
    assert (seen.count, seen.first_seen_ms, seen.last_seen_ms) == (len(times), min(ends), max(ends))


def test_weeks_begin_on_monday_in_utc() -> None:
    assert hour_of_week(MONDAY_MS) == 0
    assert hour_of_week(MONDAY_MS - 1) == 167
    assert hour_of_week(MONDAY_MS + 25 * HOUR_MS) == 25


def test_replicas_images_and_values_are_counted_where_known() -> None:
    seen = evidence([(1, (1, 1), replica, value) for replica, value in (("r1", "7"), ("r2", "8"), ("r1", "7"), ("", "9"))])
    assert seen.replicas is not None
    assert seen.replicas.count == 2
    assert seen.images is not None
    assert [use.digest for use in seen.images.uses] == ["sha256:r1", "sha256:r2"]
    assert [values.count for values in seen.values] == [3, 1]
    fresh = Evidence(1, 1, 1)
    assert (fresh.replicas, fresh.images, fresh.values) == (None, None, ())


def test_merging_takes_nothing_away_from_the_other() -> None:
    one, other = (evidence([(1, (1, 1), "r", value)]) for value in "12")
    fresh = Evidence(0, 1, 1)
    fresh.merge(one)
    fresh.merge(other)
    assert [values.count for values in fresh.values] == [2, 1]
    assert one == evidence([(1, (1, 1), "r", "1")])
