"""Reach and blast radius, held against a plain search."""

from __future__ import annotations

import itertools

import networkx as nx
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.reach import MAX_NAMES, Reach, blast_radius, call_graph, distances

NAMES = st.sampled_from([f"shop/{letter}" for letter in "abcdefgh"])
PAIRS = st.lists(st.tuples(NAMES, NAMES), max_size=14)


def reaching(pairs: set[tuple[str, str]], target: str) -> set[str]:
    graph = call_graph(pairs)
    return nx.ancestors(graph, target) if target in graph else set()


@given(PAIRS)
def test_reach_is_what_a_search_finds(pairs: list[tuple[str, str]]) -> None:
    reach = Reach(call_graph(pairs))
    for name in {end for pair in pairs for end in pair}:
        assert reach.callers(name) == reaching(set(pairs), name) - {name}
    assert reach.callers("shop/nobody") == frozenset()


@given(PAIRS, PAIRS, PAIRS)
def test_the_blast_radius_is_what_a_search_finds_before_and_after(
    approved: list[tuple[str, str]], added: list[tuple[str, str]], removed: list[tuple[str, str]]
) -> None:
    found = {change.target: change for change in blast_radius(Reach(call_graph(approved)), added, removed)}
    new = (set(approved) | set(added)) - set(removed)
    for target in {end for pair in [*approved, *added, *removed] for end in pair}:
        before, after = reaching(set(approved), target) - {target}, reaching(new, target) - {target}
        if before == after:
            assert target not in found
        else:
            change = found[target]
            assert (set(change.gained), set(change.lost)) == (after - before, before - after)
            assert (change.gained_count, change.lost_count) == (len(change.gained), len(change.lost))
            assert (change.before, change.after) == (len(before), len(after))


def test_an_approval_says_from_where_a_database_can_then_be_reached() -> None:
    approved = [(f"shop/w{number}", "shop/cart") for number in range(13)] + [("shop/payments", "shop/payments-db")]
    reach = Reach(call_graph(approved))
    (first,) = blast_radius(reach, [("shop/cart", "shop/payments-db")], targets=["shop/payments-db", "shop/nothing"])
    assert first.text == "makes shop/payments-db reachable from 14 more workloads"
    assert (first.before, first.after) == (1, 15)


def test_a_removal_says_it_too_and_the_largest_gain_comes_first() -> None:
    reach = Reach(call_graph([("a/a", "a/b"), ("a/x", "a/y")]))
    changes = blast_radius(reach, [("a/b", "a/c"), ("a/a", "a/y")], [("a/x", "a/y")])
    assert [change.text for change in changes] == [
        "makes a/c reachable from 2 more workloads",
        "makes a/y reachable from 1 more workload and takes a/y out of reach of 1 workload",
    ]
    assert blast_radius(reach, removed=[("a/a", "a/b")])[0].text == "takes a/b out of reach of 1 workload"


def test_only_the_first_names_are_listed_and_all_are_counted() -> None:
    (change,) = blast_radius(Reach(call_graph([])), [(f"a/w{number:03}", "a/db") for number in range(100)])
    assert change.gained_count == 100
    assert change.gained == tuple(f"a/w{number:03}" for number in range(MAX_NAMES))


@pytest.mark.parametrize(("start", "expected"), [("a", {"b": 1, "c": 1, "d": 2}), ("d", {}), ("nobody", {})])
def test_distances_are_in_calls_nearest_first(start: str, expected: dict[str, int]) -> None:
    found = distances(call_graph([("a", "c"), ("a", "b"), ("b", "d"), ("c", "d"), ("x", "a")]), start)
    assert list(found.items()) == list(expected.items())


def test_an_edge_back_to_the_beginning_lets_everything_reach_everything() -> None:
    """So long a way round that the sets are made anew."""
    names = [f"a/w{number:04}" for number in range(2000)]
    reach = Reach(call_graph(itertools.pairwise(names)))
    changes = {change.target: change for change in blast_radius(reach, [(names[-1], names[0])])}
    assert set(changes) == set(names[:-1])
    assert {change.after for change in changes.values()} == {1999}
    assert changes[names[400]].gained_count == 1599
