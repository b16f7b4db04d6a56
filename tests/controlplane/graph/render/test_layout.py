"""Layered layout: callers left, nothing on top of anything else, few crossings, and always the same."""

from __future__ import annotations

from itertools import combinations, pairwise

import networkx as nx
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.render.layout import Layout, arrange
from tests.controlplane.graph.render.pictures import NAMES
from tests.controlplane.graph.teams import mesh

LINES = st.lists(st.tuples(NAMES, NAMES), max_size=25)


def names_of(lines: list[tuple[str, str]]) -> set[str]:
    return {end for line in lines for end in line}


def crossings(layout: Layout) -> int:
    steps = {step for way in layout.ways.values() for step in pairwise(way)}
    return sum(
        (a[1] - c[1]) * (b[1] - d[1]) < 0 for (a, b), (c, d) in combinations(sorted(steps), 2) if a[0] == c[0]
    )  # fmt: skip


@given(LINES, st.sets(NAMES))
def test_every_name_has_a_place_of_its_own_and_every_line_a_way_to_the_right(lines: list[tuple[str, str]], alone: set[str]) -> None:
    names = names_of(lines) | alone
    layout = arrange(names, lines)
    assert set(layout.places) == names
    assert set(layout.ways) == {line for line in lines if line[0] != line[1]}
    for (column, row), (other, below) in combinations(layout.places.values(), 2):
        assert column != other or abs(row - below) >= 0.999
    for column, row in layout.places.values():
        assert 0 <= column < layout.columns
        assert 0.499 <= row <= layout.rows - 0.499
    for (source, destination), way in layout.ways.items():
        assert {way[0], way[-1]} == {layout.places[source], layout.places[destination]}
        assert [column for column, _ in way] == list(range(way[0][0], way[-1][0] + 1))
        assert len(way) >= 2


@given(LINES)
def test_without_cycles_every_caller_stands_left_of_what_it_calls(lines: list[tuple[str, str]]) -> None:
    acyclic = [(min(line), max(line)) for line in lines if line[0] != line[1]]
    layout = arrange(names_of(acyclic), acyclic)
    assert all(layout.places[source][0] < layout.places[destination][0] for source, destination in acyclic)


@given(LINES)
def test_few_lines_of_a_cycle_are_turned(lines: list[tuple[str, str]]) -> None:
    """Turning those takes every cycle out: what is drawn to the right has none."""
    layout = arrange(names_of(lines), lines)
    to_right: nx.DiGraph[str] = nx.DiGraph(line for line, way in layout.ways.items() if way[0] == layout.places[line[0]])
    assert nx.is_directed_acyclic_graph(to_right)


def test_one_cycle_costs_one_turned_line() -> None:
    ring = [("a", "b"), ("b", "c"), ("c", "d"), ("d", "a")]
    layout = arrange("abcd", ring)
    assert [line for line, way in layout.ways.items() if way[0] != layout.places[line[0]]] == [("d", "a")]


@given(LINES, st.randoms(use_true_random=False))
def test_the_order_of_names_and_lines_changes_nothing(lines: list[tuple[str, str]], chance: object) -> None:
    shuffled = list(lines)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]  # hypothesis' random.Random
    assert arrange(names_of(lines), lines) == arrange(sorted(names_of(lines), reverse=True), shuffled)


def test_lines_that_need_not_cross_do_not() -> None:
    assert crossings(arrange("abcxyz", [("a", "z"), ("b", "y"), ("c", "x")])) == 0
    tree = [(f"n{number}", f"n{2 * number + side}") for number in range(1, 16) for side in (0, 1)]
    assert crossings(arrange(names_of(tree), tree)) == 0


def test_sorting_takes_most_crossings_out_of_a_usual_mesh() -> None:
    lines = mesh(3, 8)
    assert crossings(arrange(names_of(lines), lines)) < 600  # about 2,200 in order of name


def test_nothing_is_laid_out_as_nothing() -> None:
    assert arrange([], []) == Layout({}, {}, 0, 0.0)
    assert arrange(["a"], [("a", "a")]) == Layout({"a": (0, 0.5)}, {}, 1, 1.0)
