"""Odd edges by link prediction: most of those that an intruder makes, few of those that teams make."""

from __future__ import annotations

import pytest

from controlplane.graph.likelihood import Likelihood
from tests.controlplane.graph.teams import intrusions, mesh


@pytest.mark.parametrize(("teams", "services"), [(10, 10), (50, 12)])
def test_calls_to_the_back_of_another_team_are_odd_and_calls_within_are_not(teams: int, services: int) -> None:
    usual, bad = mesh(teams, services), intrusions(teams, services, 20)
    found = {odd.edge for odd in Likelihood(usual).unlikely(usual + bad)}
    assert len(found & set(bad)) >= 0.9 * len(bad)
    assert len(found & set(usual)) <= 0.05 * len(usual)


def test_they_are_mostly_found_among_edges_that_nobody_approved_yet() -> None:
    usual, bad = mesh(50, 12), intrusions(50, 12, 20)
    found = {odd.edge for odd in Likelihood(usual + bad).unlikely(usual + bad)}
    assert len(found & set(bad)) >= 0.9 * len(bad)
    assert len(found & set(usual)) <= 0.05 * len(usual)


def test_the_reason_is_in_words() -> None:
    usual = mesh(20, 10)
    (odd,) = Likelihood(usual).unlikely([("t3/s1", "t9/s9")])
    assert odd.edge == ("t3/s1", "t9/s9")
    assert odd.reason.startswith("t3/s1 has no neighbour in common with t9/s9 or its ")
    assert odd.reason.endswith(" of 100 trusted edges have")


def test_what_everyone_calls_is_not_odd_for_anyone() -> None:
    usual = mesh(20, 10)
    likelihood = Likelihood(usual)
    assert likelihood.score(("t3/s1", "platform/mail")) is None
    assert likelihood.unlikely([("t3/s1", "platform/mail")]) == []


def test_an_edge_does_not_speak_for_itself_and_the_graph_is_as_before() -> None:
    likelihood = Likelihood([("a", "x"), ("a", "y"), ("a", "z"), ("b", "x"), ("b", "y")])
    assert likelihood.score(("a", "x")) == likelihood.score(("a", "x")) == pytest.approx(0.5)
    apart = Likelihood([("a", "x"), ("a", "y"), ("a", "z"), ("b", "x"), ("b", "w")])
    assert apart.score(("a", "x")) == 0


@pytest.mark.parametrize("edge", [("a", "nobody"), ("nobody", "x"), ("c", "x"), ("a", "z"), ("a", "a")])
def test_what_cannot_be_judged_has_no_score(edge: tuple[str, str]) -> None:
    """Unknown ends, a caller of hardly anything else, a service that nobody else calls."""
    assert Likelihood([("a", "x"), ("a", "y"), ("a", "z"), ("b", "x"), ("b", "y"), ("c", "x")]).score(edge) is None


def test_where_trusted_edges_have_nothing_behind_them_nothing_is_odd() -> None:
    chance_like = [(f"a/w{number}", f"b/s{(number * step) % 97}") for number in range(97) for step in (1, 5, 12)]
    assert Likelihood(chance_like).unlikely(chance_like) == []


def test_a_small_graph_says_nothing() -> None:
    likelihood = Likelihood([("a", "x"), ("a", "y"), ("a", "z"), ("b", "x"), ("b", "w")])
    assert likelihood.score(("a", "w")) == 0.5
    assert likelihood.score(("a", "x")) == 0
    assert likelihood.unlikely([("a", "x")]) == []
