"""The edges of the learned graph, and the rules that they ask for."""

from __future__ import annotations

import pytest

from controlplane.graph.cover import Approved
from controlplane.graph.learn import GraphEdge, graph_of, rule_of
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AddressSource, HttpMatch, Policy, Rule
from controlplane.topology.model import ServiceName

CART = ServiceName("shop", "cart")
FRONT = WorkloadId("shop", "front")


def edge(*http: HttpMatch, source: str = "shop/front", destination: str = "shop/cart", port: int = 80) -> GraphEdge:
    return GraphEdge(source, destination, port, "http", http, 1, 0, 0)


@pytest.mark.parametrize(
    ("source", "rule_source"),
    [("shop/front", FRONT), ("ip:10.0.0.1", AddressSource("10.0.0.1/32")), ("ip:::1", AddressSource("::1/128"))],
)
def test_an_edge_asks_for_the_rule_that_allows_it(source: str, rule_source: WorkloadId | AddressSource) -> None:
    assert rule_of(edge(HttpMatch("GET"), source=source)) == (CART, Rule(rule_source, 80, (HttpMatch("GET"),)))


@pytest.mark.parametrize(
    "impossible",
    [
        edge(source="nobody"),
        edge(source="ip:x"),
        edge(source="ip:"),
        edge(destination="external/*.com"),
        edge(destination="external/"),
        edge(destination="external/a b"),
        edge(port=0),
        edge(port=70000),
    ],
    ids=lambda e: f"{e.source} {e.destination} {e.port}",
)
def test_an_edge_that_no_rule_can_hold_asks_for_none_and_is_not_approved(impossible: GraphEdge) -> None:
    assert rule_of(impossible) is None
    assert not Approved(Policy()).holds(impossible)


def test_the_graph_keeps_parallel_edges_apart_by_port_and_protocol() -> None:
    graph = graph_of([edge(), edge(port=81), edge(source="shop/x")])
    assert set(graph.nodes) == {"shop/front", "shop/cart", "shop/x"}
    assert {key for _, _, key in graph.edges(keys=True)} == {"80/http", "81/http"}
    assert graph.number_of_edges() == 3
