"""Proposals: what they hold, as text and back."""

from __future__ import annotations

from dataclasses import replace

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.learn import GraphEdge
from controlplane.graph.oddities import Mark, Oddity
from controlplane.graph.proposal import Rejected, additions, dump_proposal, load_proposal, propose
from controlplane.graph.rows import Asked, ReviewRow
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.revise import added, revise, rule_sets
from controlplane.policy.rules import HttpMatch, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import MATCHES, RULE_LISTS

CART = ServiceName("shop", "cart")
NOTHING = Rejected(())
EDGES = st.builds(
    GraphEdge,
    st.sampled_from(["shop/front", "shop/web", "ip:127.1.2.3", "nobody"]),
    st.sampled_from(["shop/cart", "shop/db", "external/api.example.com", "external/*"]),
    st.sampled_from([80, 81]),
    st.sampled_from(["http", "grpc"]),
    st.lists(MATCHES, max_size=3, unique=True).map(lambda matches: tuple(sorted(matches))),
    st.integers(0, 2**53), st.integers(0, 2**53), st.integers(0, 2**53),
)  # fmt: skip


@given(st.lists(EDGES, max_size=6))
def test_a_proposal_is_read_as_it_was_written(edges: list[GraphEdge]) -> None:
    marks = (Mark(Oddity.SCAN, "tried 9 ports"), Mark(Oddity.UNLIKELY, "nobody else does"))
    rows = [ReviewRow(edge, marks[: n % 3], "unused" * (n % 2)) for n, edge in enumerate(edges)]
    rows += [ReviewRow(edge, asked=Asked("dev", "needed", "https://git.test/1", 5)) for edge in edges]
    assert load_proposal(dump_proposal(rows)) == tuple(rows)


def test_a_proposal_of_an_older_version_has_no_marks() -> None:
    text = '[{"source":"shop/a","destination":"shop/b","port":1,"protocol":"http","count":1,"first_seen_ms":2,"last_seen_ms":3}]'
    assert load_proposal(text) == (ReviewRow(GraphEdge("shop/a", "shop/b", 1, "http", (), 1, 2, 3)),)


@pytest.mark.parametrize("text", ["", "{}", "[1]", '[{"source":"a"}]'])
def test_another_text_is_refused(text: str) -> None:
    with pytest.raises(msgspec.DecodeError):
        load_proposal(text)


@given(st.lists(EDGES, max_size=6), RULE_LISTS)
def test_what_was_approved_is_not_proposed_again(edges: list[GraphEdge], rules: tuple[Rule, ...]) -> None:
    policy = Policy(1, {CART: ServicePolicy(CART, rules, 1)})
    proposed = propose(policy, edges, NOTHING)
    for edge in proposed:
        assert any(same_ends(edge, whole) and set(edge.http) <= set(whole.http) for whole in edges)
    after = revise(policy, added(rule_sets(policy), additions(map(ReviewRow, proposed))), 2)
    assert propose(after, edges, NOTHING) == ()


@given(st.lists(EDGES, max_size=6), RULE_LISTS, st.lists(EDGES, max_size=3))
def test_what_was_rejected_is_not_proposed_again_and_holds_nothing_else_back(
    edges: list[GraphEdge], rules: tuple[Rule, ...], more: list[GraphEdge]
) -> None:
    policy = Policy(1, {CART: ServicePolicy(CART, rules, 1)})
    first = propose(policy, edges, NOTHING)
    assert propose(policy, edges, Rejected(first)) == ()
    for edge in propose(policy, [*edges, *more], Rejected(first)):
        assert not any(same_ends(edge, before) and set(before.http or [HttpMatch()]) & set(edge.http) for before in first)
    unrelated = [edge for edge in more if not any(same_ends(edge, before) for before in first)]
    assert set(propose(policy, unrelated, NOTHING)) == set(propose(policy, unrelated, Rejected(first)))


def test_a_new_method_or_path_of_a_rejected_edge_is_proposed_alone() -> None:
    def edge(*http: HttpMatch) -> GraphEdge:
        return GraphEdge("shop/front", "shop/cart", 80, "http", http, 1, 0, 0)

    get, post = HttpMatch("GET"), HttpMatch("POST")
    assert propose(Policy(), [edge(get, post)], Rejected([edge(get)])) == (edge(post),)
    assert propose(Policy(), [edge(HttpMatch("GET", "/a"))], Rejected([edge(get)])) == ()
    assert propose(Policy(), [edge(HttpMatch("GET", "/a/7"))], Rejected([edge(HttpMatch("GET", "/a/{id}"))])) == ()
    assert propose(Policy(), [edge(get)], Rejected([edge(HttpMatch("GET", "/a"))])) == (edge(get),)
    assert propose(Policy(), [edge(get)], Rejected([edge()])) == ()


def same_ends(left: GraphEdge, right: GraphEdge) -> bool:
    return replace(left, http=(), count=0, first_seen_ms=0, last_seen_ms=0) == replace(
        right, http=(), count=0, first_seen_ms=0, last_seen_ms=0
    )


def test_an_edge_that_no_rule_can_hold_is_not_proposed() -> None:
    impossible = GraphEdge("shop/front", "external/*", 80, "http", (), 1, 0, 0)
    assert propose(Policy(), [impossible], NOTHING) == ()
    assert additions([ReviewRow(impossible)]) == []


def test_additions_are_the_rules_that_the_edges_ask_for() -> None:
    edge = GraphEdge("shop/front", "shop/cart", 80, "http", (HttpMatch("GET"),), 1, 0, 0)
    assert additions([ReviewRow(edge)]) == [(CART, Rule(WorkloadId("shop", "front"), 80, (HttpMatch("GET"),)))]
