"""Backoff: longer with every failure, never above its bound, short again after a success."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from sidecar.backoff import Backoff


@given(st.integers(), st.integers(1, 200))
def test_waits_stay_between_half_of_the_first_and_the_most(seed: int, failures: int) -> None:
    backoff = Backoff(0.5, 8.0, _random=random.Random(seed))
    assert all(0.25 <= backoff.next_seconds() <= 8.0 for _ in range(failures))


def test_the_bound_of_a_wait_doubles_with_each_failure_and_is_spread_below_it() -> None:
    def longest(failures: int) -> float:
        waits = []
        for seed in range(200):
            backoff = Backoff(0.5, 8.0, _random=random.Random(seed))
            waits.append([backoff.next_seconds() for _ in range(failures)][-1])
        assert max(waits) - min(waits) > 0.4 * max(waits)  # a fleet does not come back all at once
        return max(waits)

    assert longest(1) <= 0.5 < longest(2) <= 1.0 < longest(3) <= 2.0 < longest(5) <= 8.0


def test_after_a_success_the_next_failure_is_the_first_again() -> None:
    backoff = Backoff(0.5, 8.0)
    for _ in range(10):
        backoff.next_seconds()
    backoff.reset()
    assert backoff.next_seconds() <= 0.5
