"""The learned graph: what it sums up, and that it never asks for more than was seen."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, LearnedEdge
from controlplane.graph.cover import Approved
from controlplane.graph.learn import MAX_PATHS, GraphEdge, graph_of, rule_of, summarise
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import AddressSource, HttpMatch, Policy, Rule
from controlplane.topology.model import ServiceName

CART = ServiceName("shop", "cart")
FRONT = WorkloadId("shop", "front")


def seen(method: str = "", path: str = "", protocol: str = "http", **changes: object) -> LearnedEdge:
    key = EdgeKey("shop/front", "shop/cart", 80, protocol, method, path)
    return LearnedEdge(key._replace(**changes), 2, 10, 20)  # type: ignore[arg-type]  # what a test changes has its type


def edge(*http: HttpMatch, source: str = "shop/front", destination: str = "shop/cart", port: int = 80) -> GraphEdge:
    return GraphEdge(source, destination, port, "http", http, 1, 0, 0)


def test_methods_and_paths_of_one_port_are_one_edge_with_all_counts() -> None:
    edges = [seen("GET"), LearnedEdge(seen("POST").key, 5, 3, 15), LearnedEdge(seen("GET", "/shop.Cart/Get").key, 1, 12, 90)]
    http = (HttpMatch("GET"), HttpMatch("GET", "/shop.Cart/Get"), HttpMatch("POST"))
    assert summarise(edges) == [GraphEdge("shop/front", "shop/cart", 80, "http", http, 8, 3, 90)]


def test_source_destination_port_and_protocol_keep_edges_apart() -> None:
    edges = [seen(), seen(source="shop/x"), seen(destination="shop/x"), seen(port=81), seen(protocol="redis")]
    assert len(summarise(edges)) == 5


def test_a_source_that_calls_very_many_methods_gets_the_port() -> None:
    many = [seen("POST", f"/shop.Cart/M{number}", "grpc") for number in range(MAX_PATHS + 1)]
    assert [e.http for e in summarise(many)] == [(HttpMatch("POST"),)]


@pytest.mark.parametrize("path", ["/*", "/shop.Cart/*", "/{x}", "/a/*/b", "/a b", "/a#b", "/" + "x" * 2000, "/caf\u00e9"])
def test_a_path_that_a_rule_would_read_otherwise_asks_for_nothing(path: str) -> None:
    """A caller that sends a pattern in learn mode would have it approved as one."""
    assert summarise([seen("POST", path, "grpc")]) == []
    assert [e.http for e in summarise([seen("POST", path, "grpc"), seen("POST", "/a", "grpc")])] == [(HttpMatch("POST", "/a"),)]


def test_a_method_that_no_rule_can_name_asks_for_nothing() -> None:
    assert summarise([seen("G(T")]) == []


ANYTHING_SEEN = st.builds(
    seen, st.text(max_size=5) | st.just("POST"), st.text(max_size=8) | st.just("/a"), st.sampled_from(["http", "grpc", "redis"])
)


@given(st.lists(ANYTHING_SEEN))
def test_what_is_proposed_holds_only_what_was_seen(edges: list[LearnedEdge]) -> None:
    """Approving everything learned lets in what was seen, and nothing else on a port where methods were seen."""
    for found in summarise(edges):
        same = [e for e in edges if e.key.protocol == found.protocol]
        if any(e.key.method for e in same):
            assert found.http
        for match in found.http:
            assert any((e.key.method, e.key.path) == (match.method, match.path) for e in same)


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
