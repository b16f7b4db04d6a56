"""Templates: they hold everything that was observed, and nothing beyond the stated generalisation."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.pathshape import shape_of
from controlplane.graph.pathtree import Budget, tree_of
from controlplane.graph.segments import shape
from controlplane.graph.templates import Generalisation, Template, Why, mine
from controlplane.policy.evaluate import http_matches
from tests.controlplane.graph.paths import BUDGETS, LISTS

RULE = Generalisation(siblings=4, alone=7)
NAMES = [f"{first}{last}" for first in ("ann", "bob", "eve", "joe") for last in ("ash", "elm", "fir", "oak", "yew")]


def paths_of(*paths: str, rule: Generalisation | None = None) -> list[str]:
    return [template.path for template in mine(tree_of(paths), rule).templates]


@given(LISTS, BUDGETS)
def test_every_observed_path_is_held_by_its_template(paths: list[str], budget: Budget) -> None:
    mined = mine(tree_of(paths, budget), RULE)
    for path in paths:
        template = mined.of(path)
        if shape_of(path) is None:
            assert template is None
        else:
            assert template in mined.templates
            assert http_matches(template.match("GET"), "GET", path)


@given(LISTS, BUDGETS)
def test_a_template_is_as_wide_as_its_evidence_says_and_no_wider(paths: list[str], budget: Budget) -> None:
    """Each segment: a word that was there, or a parameter whose reason holds for what was observed at that place."""
    mined = mine(tree_of(paths, budget), RULE)
    supported: dict[str, list[list[str]]] = {template.path: [] for template in mined.templates}
    for path in paths:
        template = mined.of(path)
        if template is not None:
            supported[template.path].append(path[1:].split("/"))
    shapes = {found[0] for path in paths if (found := shape_of(path))}
    for template in mined.templates:
        _check(template, supported[template.path], is_full=len(shapes) > budget.shapes)


def _check(template: Template, supporters: list[list[str]], *, is_full: bool) -> None:
    assert supporters
    assert template.is_exact or template.reasons
    parameters = iter(template.parameters)
    for place, token in enumerate(template.path.removesuffix("/*").strip("/").split("/")):
        seen = {supporter[place] for supporter in supporters}
        if "{" not in token:
            assert seen == {token}
            continue
        parameter = next(parameters)
        assert parameter.segment == token
        assert parameter.values >= 1
        if parameter.why is Why.LOOKS:
            assert {shape(segment) for segment in seen} == {token}
        elif parameter.why is Why.SIBLINGS:
            assert token == "{name}"
            assert all(shape(segment) == segment for segment in seen)
        else:
            assert token == "{name}"
            assert is_full
    assert next(parameters, None) is None


@given(LISTS, st.randoms(use_true_random=False))
def test_templates_and_their_evidence_do_not_depend_on_order(paths: list[str], chance: random.Random) -> None:
    other = paths + paths[:5]
    chance.shuffle(other)
    assert mine(tree_of(paths), RULE).templates == mine(tree_of(other), RULE).templates


def test_identifiers_are_parameters_and_words_stay() -> None:
    assert paths_of("/", "/cart", "/cart/checkout", "/product/OLJCESPC7Z", "/product/66VCHSJNUP") == [
        "/", "/cart", "/cart/checkout", "/product/{token}",
    ]  # fmt: skip


def test_an_identifier_says_how_many_were_seen() -> None:
    mined = mine(tree_of([f"/users/{number}" for number in (3, 1, 2)]))
    assert mined.templates[0].reasons == ("{id}: looks like an identifier; 3 different seen there, whatever follows, as 1, 2, 3",)
    many = mine(tree_of([f"/users/{number}" for number in range(1000)])).templates[0]
    assert many.reasons[0].startswith("{id}: looks like an identifier; about ")


def test_many_words_with_the_same_below_them_are_values() -> None:
    paths = [f"/users/{name}/orders/{number}" for number, name in enumerate(NAMES)]
    assert paths_of(*paths) == ["/users/{name}/orders/{id}"]
    assert len(paths_of(*paths[1:])) == len(NAMES) - 1


def test_what_is_below_a_value_moves_with_it_and_other_words_stay() -> None:
    paths = [f"/users/{name}/orders" for name in NAMES]
    assert paths_of(*paths, "/users/annash/profile", "/users/search", "/users/search/recent") == [
        "/users/search", "/users/search/recent", "/users/{name}/orders", "/users/{name}/profile",
    ]  # fmt: skip


@pytest.mark.parametrize("below", ["", "/7"])
def test_it_takes_more_words_when_nothing_with_a_name_follows(below: str) -> None:
    """Twenty resources, or twenty verbs, are no values."""
    words = [f"{a}{b}" for a in "abcdefgh" for b in "abcdefgh"]
    assert len(paths_of(*[f"/api/{word}{below}" for word in words[:49]])) == 49
    assert len(paths_of(*[f"/api/{word}{below}" for word in words[:50]])) == 1


def test_a_crowd_says_that_it_is_wide_for_want_of_room() -> None:
    (template,) = mine(tree_of([f"/{name}" for name in NAMES], Budget(10, 4))).templates
    assert template.is_crowded
    assert template.parameters[0].why is Why.CROWDED
    assert template.reasons[0].startswith("{name}: more different segments than are told apart; about ")


def test_a_path_that_is_deeper_than_is_told_apart_is_a_prefix_and_says_so() -> None:
    (template,) = mine(tree_of(["/a" * 30])).templates
    assert template.is_prefix
    assert template.is_crowded
    assert template.reasons == ("*: longer or deeper paths than are told apart",)
    assert http_matches(template.match("GET"), "GET", "/a" * 30)
