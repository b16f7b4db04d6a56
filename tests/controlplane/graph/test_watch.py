"""When a service was watched."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.evidence import DAY_MS, HOUR_MS
from controlplane.graph.watch import FULL_DAY_HOURS, MAX_HOURS, Watch

START_MS = 1_699_833_600_000
DAY = START_MS // DAY_MS
REPORTS = st.lists(st.tuples(st.integers(0, 3000), st.sampled_from([0, 0, 0, 7]), st.sampled_from(["", "r1", "r2"])), max_size=30)


def watch(reports: list[tuple[int, int, str]]) -> Watch:
    seen = Watch()
    for hour, lost, replica in reports:
        seen.hear(START_MS + hour * HOUR_MS + 5, lost)
        if replica:
            seen.start(f"{replica}/{hour}", START_MS + hour * HOUR_MS)
    return seen


@given(REPORTS, st.randoms(use_true_random=False), st.integers(0, 30))
def test_order_and_merging_change_nothing(reports: list[tuple[int, int, str]], chance: random.Random, cut: int) -> None:
    other = chance.sample(reports, len(reports))
    merged = watch(other[:cut])
    merged.merge(watch(other[cut:]))
    assert watch(reports) == watch(other) == merged


@given(REPORTS)
def test_hours_and_gaps_are_those_of_the_reports(reports: list[tuple[int, int, str]]) -> None:
    seen = watch(reports)
    last = max((hour for hour, _, _ in reports), default=0)
    heard = {hour for hour, _, _ in reports if last - hour < MAX_HOURS}
    assert sorted(seen.watched_hours()) == sorted(START_MS // HOUR_MS + hour for hour in heard)
    assert seen.hours == len(heard)
    assert seen.gap_hours == (last - min(heard) + 1 - len(heard) if heard else 0)
    assert seen.lossy_hours == len({hour for hour, lost, _ in reports if lost and last - hour < MAX_HOURS})
    assert seen.lost == sum(lost for _, lost, _ in reports)


def test_nothing_was_watched_before_the_first_report() -> None:
    assert (Watch().hours, Watch().gap_hours, Watch().full_days(), Watch().saw_restart) == (0, 0, (), False)


def test_a_day_counts_when_nearly_all_of_it_was_watched() -> None:
    hours = [*range(24), *range(24, 24 + FULL_DAY_HOURS), *range(48, 48 + FULL_DAY_HOURS - 1)]
    assert watch([(hour, 0, "") for hour in hours]).full_days() == (DAY, DAY + 1)


def test_a_start_counts_as_seen_when_the_service_was_watched_before() -> None:
    assert not watch([(0, 0, "r1")]).saw_restart
    seen = watch([(0, 0, "r1"), (2, 0, "r2")])
    assert seen.saw_restart
    assert seen.starts == 2
