"""How benchmarks judge and show their figures."""

from __future__ import annotations

import io
import json

import pytest
from rich.console import Console

from tests.bench.measurement import Measurement, median, percentile, show, to_json


@pytest.mark.parametrize(("share", "expected"), [(0.5, 50), (0.99, 99), (1.0, 100), (0.0, 1)])
def test_percentiles_are_of_the_nearest_rank(share: float, expected: float) -> None:
    assert percentile(list(range(100, 0, -1)), share) == expected


def test_the_median_of_one_is_it() -> None:
    assert median([7.0]) == 7.0


def test_a_goal_is_a_bound_on_its_side() -> None:
    assert Measurement("a", 2, "s", 1).reached is False
    assert Measurement("a", 1, "s", 1).reached is True
    assert Measurement("a", 2, "x", 1, at_least=True).reached is True
    assert Measurement("a", 0.5, "x", 1, at_least=True).reached is False
    assert Measurement("a", 0.5, "x").reached is None


def test_what_is_written_and_shown_holds_every_figure() -> None:
    measured = [Measurement("a thing", 1234.5, "ms", 50, raw=7.0, detail={"p50 ms": 3.0})]
    written = json.loads(to_json(measured))
    expected = {"name": "a thing", "value": 1234.5, "reached": False, "raw": 7.0}
    assert written["measurements"][0] | expected == written["measurements"][0]
    console = Console(width=120, record=True, file=io.StringIO())
    show(measured, console)
    assert "a thing" in console.export_text()
