"""What approved rules hold of learned edges, held against what `evaluate` says about single requests."""

from __future__ import annotations

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.cover import Approved, covers, unapproved
from controlplane.graph.learn import GraphEdge
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, Request, evaluate, http_matches
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import MATCHES, RULE_LISTS, SOURCES

CART = ServiceName("shop", "cart")
FRONT = WorkloadId("shop", "front")
_PIECES = st.sampled_from(["a", "b", "{id}", "{x}", "*", "item-{id}", "a*b", "{id}.json", "*.js", "a{id}*", ""])
PATTERNS = st.lists(_PIECES, min_size=1, max_size=4).map(lambda parts: "/" + "/".join(parts))
VALUES = st.sampled_from(["a", "b", "item-1", "item-a", "1.json", "x.js", "aXb", "ab", "a", "aa", "", "a/b", "b/1.json/c"])


def edge(*http: HttpMatch, source: str = "shop/front", port: int = 80) -> GraphEdge:
    return GraphEdge(source, "shop/cart", port, "http", http, 1, 0, 0)


@st.composite
def filled(draw: st.DrawFn, pattern: str, values: st.SearchStrategy[str]) -> str:
    """A pattern with something in place of its parameters and stars: a path that it holds, or nearly; or a narrower pattern."""
    return re.sub(r"\{\w+\}|\*", lambda _: draw(values), pattern)


@given(st.data(), PATTERNS)
def test_what_is_covered_lets_nothing_more_pass(data: st.DataObject, allowed: str) -> None:
    wanted = data.draw(filled(allowed, VALUES | _PIECES) | PATTERNS)
    outer, inner = HttpMatch("GET", allowed), HttpMatch("GET", wanted)
    path = data.draw(filled(wanted, VALUES))
    if covers(outer, inner) and http_matches(inner, "GET", path):
        assert http_matches(outer, "GET", path)


@pytest.mark.parametrize(
    ("allowed", "wanted", "expected"),
    [
        ("", "", True),
        ("", "/a", True),
        ("/a", "", False),
        ("/a", "/a", True),
        ("/a", "/{id}", False),
        ("/{id}", "/a", True),
        ("/{id}", "/{name}", True),
        ("/{id}", "/item-{id}", True),
        ("/item-{id}", "/{id}", False),
        ("/item-{id}", "/item-{token}", True),
        ("/a/*", "/a/{id}/b", True),
        ("/a/{id}", "/a/*", False),
        ("/a/{id}", "/a/b*", False),
        ("/a/b", "/a/b*", False),
        ("/a/*", "/a/b/*", True),
        ("/a/b/*", "/a/*", False),
        ("/a*", "/a/*", True),
        ("/*/b", "/{x}/b", True),
        ("/{x}/b", "/*/b", False),
        ("/a{x}", "/a*", False),
        ("/{x}*", "/a*", True),
    ],
)
def test_patterns_that_cover_others(allowed: str, wanted: str, *, expected: bool) -> None:
    assert covers(HttpMatch("GET", allowed), HttpMatch("GET", wanted)) is expected
    assert covers(HttpMatch("", allowed), HttpMatch("GET", wanted)) is expected
    assert not covers(HttpMatch("POST", allowed), HttpMatch("GET", wanted))
    assert not covers(HttpMatch("GET", allowed), HttpMatch("", wanted))


@pytest.mark.parametrize(
    ("rules", "wanted", "approved"),
    [
        ([], edge(), False),
        ([Rule(FRONT, 80)], edge(HttpMatch("GET")), True),
        ([Rule(FRONT, 80)], edge(), True),
        ([Rule(FRONT, 81)], edge(), False),
        ([Rule(FRONT, 80, (HttpMatch("GET"),))], edge(), False),
        ([Rule(FRONT, 80, (HttpMatch("GET"),))], edge(HttpMatch("GET")), True),
        ([Rule(FRONT, 80, (HttpMatch("GET"),))], edge(HttpMatch("GET"), HttpMatch("POST")), False),
        ([Rule(FRONT, 80, (HttpMatch("GET"),)), Rule(FRONT, 80, (HttpMatch("POST"),))], edge(HttpMatch("POST")), True),
        ([Rule(FRONT, 80, (HttpMatch("GET", "/a"),))], edge(HttpMatch("GET")), False),
        ([Rule(FRONT, 80, (HttpMatch("GET", "/a/*"),))], edge(HttpMatch("GET", "/a/b")), True),
        ([Rule(FRONT, 80, (HttpMatch("", "/a/*"),))], edge(HttpMatch("GET", "/b")), False),
        ([Rule(AddressSource("10.0.0.0/8"), 80)], edge(source="ip:10.1.2.3"), True),
        ([Rule(AddressSource("10.0.0.0/8"), 80)], edge(source="ip:11.1.2.3"), False),
        ([Rule(AddressSource("0.0.0.0/0"), 80)], edge(source="ip:::1"), False),
        ([Rule(AddressSource("10.0.0.0/8"), 80)], edge(), False),
    ],
)
def test_an_edge_is_approved_when_rules_hold_all_that_it_does(rules: list[Rule], wanted: GraphEdge, *, approved: bool) -> None:
    assert Approved(Policy(1, {CART: ServicePolicy(CART, tuple(rules), 1)})).holds(wanted) is approved


EXACT = MATCHES.filter(lambda match: not (match.is_prefix or match.is_template))


@given(RULE_LISTS, SOURCES, st.lists(EXACT, max_size=3), st.sampled_from([80, 81]))
def test_approved_means_that_evaluate_lets_it_pass(
    rules: tuple[Rule, ...], source: WorkloadId | AddressSource, http: list[HttpMatch], port: int
) -> None:
    policy = Policy(1, {CART: ServicePolicy(CART, rules, 1)}, {CART: Mode.ENFORCE})
    if not Approved(policy).holds(edge(*http, source=str(source), port=port)):
        return
    peer = source if isinstance(source, WorkloadId) else None
    address = "" if isinstance(source, WorkloadId) else source.cidr.partition("/")[0]
    for match in http or [HttpMatch()]:
        request = Request(CART, port, peer, address, match.method or "BREW", match.path or "/whatever")
        assert isinstance(evaluate(policy, request), Allowed)


def test_what_is_missing_is_said_and_the_rest_is_not_asked_for_again() -> None:
    rules = (Rule(WorkloadId("shop", "front"), 80, (HttpMatch("GET", "/users/{id}"),)),)
    policy = Policy(1, {CART: ServicePolicy(CART, rules, 1)})
    held, half = edge(HttpMatch("GET", "/users/7")), edge(HttpMatch("GET", "/users/{name}"), HttpMatch("POST", "/users"))
    whole, nobody = edge(), edge(source="nobody")
    assert Approved(policy).missing(held) == ()
    assert Approved(policy).missing(nobody) is None
    assert not Approved(policy).holds(nobody)
    assert unapproved(policy, [held, half, whole, nobody]) == {half: (HttpMatch("POST", "/users"),), whole: (HttpMatch(),)}
