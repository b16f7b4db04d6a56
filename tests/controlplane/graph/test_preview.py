"""What a policy would do with what is in use, and whom it lets reach whom."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.cover import Approved
from controlplane.graph.learn import GraphEdge
from controlplane.graph.preview import preview
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AddressSource, HttpMatch, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import RULE_LISTS

CART = ServiceName("shop", "cart")
GET, POST = HttpMatch("GET"), HttpMatch("POST")


def edge(*http: HttpMatch, source: str = "shop/web", count: int = 1, last_ms: int = 900) -> GraphEdge:
    return GraphEdge(source, "shop/cart", 80, "http", http, count, 100, last_ms)


def policy(**rules: Rule) -> Policy:
    named = {ServiceName("shop", name): rule for name, rule in rules.items()}
    return Policy(1, {name: ServicePolicy(name, (rule,), 1) for name, rule in named.items()})


def test_what_the_policy_does_not_hold_would_be_denied_the_busiest_first() -> None:
    approved = policy(cart=Rule(WorkloadId("shop", "web"), 80, (GET,)))
    half, other = edge(GET, POST, count=3), edge(source="shop/x", count=9)
    found = preview(approved, approved, [edge(GET), half, other], 0)
    assert [(denied.edge, denied.missing) for denied in found.denied] == [(other, (HttpMatch(),)), (half, (POST,))]
    assert (found.edges, found.reach) == (3, ())


def test_only_what_was_used_since_then_counts() -> None:
    found = preview(Policy(), Policy(), [edge(last_ms=499), edge(source="shop/x", last_ms=500)], 500)
    assert (found.edges, [denied.edge.source for denied in found.denied]) == (1, ["shop/x"])


def test_an_edge_that_no_rule_can_hold_would_be_denied() -> None:
    found = preview(Policy(), Policy(), [edge(source="nobody")], 0)
    assert [denied.missing for denied in found.denied] == [()]


def test_the_blast_radius_is_what_comes_within_reach() -> None:
    """Through the cart, the web gets as far as the database; an address is nobody who could be taken over."""
    current = policy(db=Rule(WorkloadId("shop", "cart"), 80))
    candidate = policy(db=Rule(WorkloadId("shop", "cart"), 80), cart=Rule(WorkloadId("shop", "web"), 80))
    found = preview(current, candidate, [], 0)
    assert [change.text for change in found.reach] == [
        "makes shop/cart reachable from 1 more workload", "makes shop/db reachable from 1 more workload",
    ]  # fmt: skip
    assert preview(current, policy(db=Rule(AddressSource("10.0.0.1"), 80)), [], 0).reach[0].lost_count == 1


@given(RULE_LISTS, st.lists(st.sampled_from([edge(), edge(GET), edge(POST, source="shop/front"), edge(source="ip:127.1.2.3")])))
def test_every_edge_is_either_held_or_denied(rules: tuple[Rule, ...], edges: list[GraphEdge]) -> None:
    candidate = Policy(1, {CART: ServicePolicy(CART, rules, 1)})
    found = preview(Policy(), candidate, edges, 0)
    held = [one for one in edges if Approved(candidate).holds(one)]
    assert found.edges == len(edges) == len(held) + len(found.denied)
