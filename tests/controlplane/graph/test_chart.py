"""The map: learned and approved edges as one picture."""

from __future__ import annotations

import pytest

from controlplane.graph.chart import chart
from controlplane.graph.learn import GraphEdge
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology

CART = ServiceName("shop", "cart")
WEB = WorkloadId("shop", "web")
TOPOLOGY = Topology.of([Service(CART, Kind.SERVICE, (Port(7070, "http", 7070),))])


def seen(source: str = "shop/web", destination: str = "shop/cart", *methods: str) -> GraphEdge:
    """An edge to port 7070."""
    return GraphEdge(source, destination, 7070, "http", tuple(HttpMatch(method) for method in methods), 3, 100, 200)


def allowing(*rules: Rule, mode: Mode = Mode.LEARN) -> Policy:
    """A policy for the cart."""
    return Policy(1, {CART: ServicePolicy(CART, rules, 1)}, {CART: mode})


def test_a_learned_edge_is_approved_when_all_that_it_does_is() -> None:
    policy = allowing(Rule(WEB, 7070, (HttpMatch("GET"),)))
    (whole,) = chart(policy, [seen("shop/web", "shop/cart", "GET")], TOPOLOGY)
    (part,) = chart(policy, [seen("shop/web", "shop/cart", "GET", "POST")], TOPOLOGY)
    assert (whole.approved, whole.learned) == (True, True)
    assert (part.approved, part.learned) == (False, True)


def test_a_rule_that_nobody_used_is_an_edge_without_count() -> None:
    (edge,) = chart(allowing(Rule(WEB, 7070, (HttpMatch("GET"),))), [], TOPOLOGY)
    assert (edge.approved, edge.learned) == (True, False)
    assert edge.edge == GraphEdge("shop/web", "shop/cart", 7070, "http", (HttpMatch("GET"),), 0, 0, 0)


@pytest.mark.parametrize(("address", "used"), [("10.1.2.3", True), ("11.1.2.3", False), ("::1", False), ("not an address", False)])
def test_a_rule_for_a_network_is_used_by_any_address_of_it(address: str, used: bool) -> None:
    edges = chart(allowing(Rule(AddressSource("10.0.0.0/8"), 7070)), [seen(f"ip:{address}")], TOPOLOGY)
    assert [edge.edge.source for edge in edges if not edge.learned] == ([] if used else ["ip:10.0.0.0/8"])


def test_the_mode_is_the_destinations() -> None:
    edges = chart(allowing(mode=Mode.ENFORCE), [seen(), seen("ip:10.0.0.1"), seen("shop/web", "no-service")], TOPOLOGY)
    assert {(edge.edge.source, edge.edge.destination): edge.mode for edge in edges} == {
        ("shop/web", "shop/cart"): Mode.ENFORCE,
        ("ip:10.0.0.1", "shop/cart"): Mode.ENFORCE,
        ("shop/web", "no-service"): Mode.LEARN,
    }


def test_the_order_is_stable() -> None:
    edges = [seen("shop/z"), seen("shop/a"), seen("shop/m")]
    shown = chart(Policy(), edges, TOPOLOGY)
    assert shown == chart(Policy(), reversed(edges), TOPOLOGY)
    assert [edge.edge.source for edge in shown] == ["shop/a", "shop/m", "shop/z"]
