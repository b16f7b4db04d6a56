"""Differences between graphs and between revisions."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.diff import diff_graphs, diff_policies, rules_graph
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.diff import Change
from controlplane.policy.diff import diff as rule_changes
from controlplane.policy.rules import HttpMatch, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import policies

GRAPHS = st.dictionaries(st.integers(0, 12), st.integers(0, 2))
CART = ServiceName("shop", "cart")
FRONT = WorkloadId("shop", "front")


@given(GRAPHS, GRAPHS)
def test_the_difference_takes_one_graph_to_the_other(before: dict[int, int], after: dict[int, int]) -> None:
    found = diff_graphs(before, after)
    kept = {key: value for key, value in before.items() if key not in found.removed}
    assert {**kept, **found.added, **{key: new for key, (_, new) in found.changed.items()}} == after
    assert all(old != new and before[key] == old for key, (old, new) in found.changed.items())
    assert found.added.keys().isdisjoint(before)
    assert found.removed.items() <= before.items()
    assert bool(found) == (before != after)


def test_what_counts_as_changed_can_be_said() -> None:
    assert not diff_graphs({1: "a"}, {1: "A"}, lambda left, right: left.lower() == right.lower())
    assert diff_graphs({1: "a"}, {1: "b"}, lambda left, right: left.lower() == right.lower()).changed == {1: ("a", "b")}


@given(policies(), policies())
def test_revisions_differ_as_their_rules_do(before: Policy, after: Policy) -> None:
    found = diff_policies(before, after)
    kinds = {Change.ADDED: found.added, Change.REMOVED: found.removed, Change.CHANGED: found.changed}
    written = {(c.source, str(c.service), c.port): c.change for c in rule_changes(before, after)}
    assert written == {key: change for change, keys in kinds.items() for key in keys}


def test_two_rules_of_one_source_are_one_edge_and_one_without_methods_is_everything() -> None:
    get, post = HttpMatch("GET"), HttpMatch("POST")
    rules = (Rule(FRONT, 80, (post,)), Rule(FRONT, 80, (get,)), Rule(FRONT, 81), Rule(FRONT, 81, (get,)))
    assert rules_graph(Policy(1, {CART: ServicePolicy(CART, rules)})) == {
        ("shop/front", "shop/cart", 80): (get, post),
        ("shop/front", "shop/cart", 81): (),
    }
