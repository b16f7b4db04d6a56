"""Estimates of the unseen, held against simulated traffic whose truth is known. Seeded: a run always gives the same."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterator

import pytest

from controlplane.graph.unseen import Incidence, completeness, incidence, new_kinds, unseen_kinds

RUNS = 150
KINDS = 100

#: How likely an edge is used on a day, one edge at a time.
WORLDS: dict[str, Callable[[random.Random], float]] = {
    "most steady, some rare": lambda chance: 0.99 if chance.random() < 0.7 else 10 ** chance.uniform(-2.5, -0.3),
    "of all frequencies": lambda chance: 1 - math.exp(-math.exp(chance.gauss(0, 2.5))),
    "all rare": lambda _: 0.05,
    "all steady": lambda _: 0.999,
}


def simulate(world: str, days: int, together: int) -> Iterator[tuple[Incidence, int, int]]:
    """What was seen in some days, how many new edges the next one brings, and how many had not been seen.

    ``together`` edges are always used on the same days, as those of a job are.
    """
    chance = random.Random(f"{world} {days} {together}")
    for _ in range(RUNS):
        occurrences: list[int] = []
        for _ in range(KINDS // together):
            likely = WORLDS[world](chance)
            bits = sum(1 << day for day in range(days + 1) if chance.random() < likely)
            occurrences += [bits] * together
        before = (1 << days) - 1
        new = sum(bits == 1 << days for bits in occurrences)
        unseen = sum(not bits & before for bits in occurrences)
        yield incidence((bits & before for bits in occurrences), days), new, unseen


CASES = [(world, days, together) for world in WORLDS for days in (5, 7, 14, 30) for together in (1, 4)]


@pytest.mark.parametrize(("world", "days", "together"), CASES)
def test_the_interval_for_the_next_day_covers_what_comes_in_nine_of_ten_runs(world: str, days: int, together: int) -> None:
    covered = 0
    for seen, new, _ in simulate(world, days, together):
        found = new_kinds(seen, 1)
        covered += found.low <= new <= found.high
    assert covered >= 0.9 * RUNS


@pytest.mark.parametrize(("world", "days"), [(world, days) for world in WORLDS for days in (7, 14, 30)])
def test_the_interval_is_no_wider_than_it_has_to_be(world: str, days: int) -> None:
    """On average within three standard deviations of what comes, where edges come on their own; and centred on it."""
    runs = list(simulate(world, days, 1))
    width = sum(found.high - found.low for seen, _, _ in runs for found in [new_kinds(seen, 1)]) / RUNS
    expected = sum(new_kinds(seen, 1).expected for seen, _, _ in runs) / RUNS
    came = sum(new for _, new, _ in runs) / RUNS
    assert width <= 3 * 2 * math.sqrt(came + came / days) + 1
    assert came - 0.4 <= expected <= 1.3 * came + 0.4


@pytest.mark.parametrize(("world", "days", "together"), CASES)
def test_at_least_so_many_are_unseen(world: str, days: int, together: int) -> None:
    held = sum(unseen_kinds(seen).low <= unseen for seen, _, unseen in simulate(world, days, together))
    assert held >= (0.9 if together == 1 else 0.8) * RUNS


def test_the_lower_bound_is_reached_where_all_that_is_rare_is_equally_rare() -> None:
    runs = list(simulate("all rare", 14, 1))
    assert sum(unseen_kinds(seen).expected for seen, _, _ in runs) == pytest.approx(sum(unseen for _, _, unseen in runs), rel=0.2)
    assert sum(unseen_kinds(seen).low <= unseen <= unseen_kinds(seen).high for seen, _, unseen in runs) >= 0.9 * RUNS


def test_completeness_is_the_share_of_use_that_seen_edges_hold() -> None:
    chance = random.Random(1)
    likely = [WORLDS["of all frequencies"](chance) for _ in range(2000)]
    days = 14
    occurrences = [sum(1 << day for day in range(days) if chance.random() < share) for share in likely]
    truth = sum(share for share, bits in zip(likely, occurrences, strict=True) if bits) / sum(likely)
    assert completeness(incidence(occurrences, days)) == pytest.approx(truth, abs=0.01)


def test_more_that_was_seen_once_means_more_to_come() -> None:
    few, many = (new_kinds(Incidence(10, 100, once, 5, 900), 1) for once in (2, 40))
    assert (few.expected, many.expected) == (0.2, 4.0)
    assert few.high < many.high


def test_kinds_that_come_together_make_it_less_certain() -> None:
    alone = incidence([1 << day for day in range(10)], 20)
    together = incidence([1 << 3] * 10, 20)
    assert (alone.spread, together.spread > 5) == (1.0, True)
    assert new_kinds(together, 1).high > new_kinds(alone, 1).high


def test_everything_seen_every_day_leaves_little_to_come() -> None:
    found = new_kinds(incidence([(1 << 40) - 1] * 50, 40), 1)
    assert (found.low, found.expected, found.high) == (0, 0, 0)
    assert unseen_kinds(incidence([(1 << 40) - 1] * 50, 40)).high == 0


@pytest.mark.parametrize(("units", "ahead"), [(0, 1), (3, 4), (3, 0)])
def test_too_little_says_nothing(units: int, ahead: int) -> None:
    with pytest.raises(ValueError, match="say nothing"):
        new_kinds(Incidence(units, 1, 1, 0, 1), ahead)


def test_nothing_seen_is_no_division_by_zero() -> None:
    empty = incidence([0, 0], 10)
    assert (empty.kinds, completeness(empty), unseen_kinds(empty).high) == (0, 0.0, 0.0)
    assert new_kinds(empty, 1).high <= 2


def test_many_are_counted_without_summing_a_million_terms() -> None:
    found = new_kinds(Incidence(4, 100_000, 100_000, 0, 100_000), 1)
    assert found.low < 25_000 < found.high
