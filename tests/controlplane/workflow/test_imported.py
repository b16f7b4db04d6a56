"""Imported flows get the names that the topology knows, or else those of the log."""

from __future__ import annotations

from dataclasses import replace

import pytest

from controlplane.flows.imports.formats import FORMATS, HUBBLE
from controlplane.flows.imports.model import End, Imported
from controlplane.flows.model import EdgeKey, Verdict
from controlplane.topology.document import parse_topology
from controlplane.topology.model import Topology
from controlplane.workflow.imported import REPORTER, flows_of
from tests.controlplane.flows.imports import samples

SHOP = parse_topology(
    b"""\
services:
- {name: web, namespace: shop, kind: service, ports: [], endpoints: [10.0.0.1]}
- {name: cart, namespace: shop, kind: service, addresses: [10.1.0.2], endpoints: [10.0.0.2],
   ports: [{port: 80, target_port: 8080, protocol: http}, {port: 6379, protocol: redis}, {port: 90, protocol: auto}]}
- {name: api.example.com, namespace: outside, kind: external, ports: [{port: 443, protocol: tls}]}
""",
    "mesh.yaml",
).topology
WEB, CART = End(namespace="shop", app="web", address="10.0.0.1"), End(namespace="shop", app="cart", address="10.0.0.2")
GET = Imported(WEB, CART, 80, "http", Verdict.ALLOWED, inbound=True, at_ms=1000, method="GET", path="/x")


def _edge(found: Imported, topology: Topology = SHOP) -> EdgeKey:
    (flow,) = flows_of([found], topology, 5000)
    return flow.edge


def test_flows_of_one_edge_are_summed_and_nothing_was_seen_in_the_future() -> None:
    flows = flows_of([GET, replace(GET, at_ms=9000), replace(GET, at_ms=500), replace(GET, verdict=Verdict.DENIED)], SHOP, 5000)
    assert [(flow.count, flow.first_seen_ms, flow.last_seen_ms, flow.verdict) for flow in flows] == [
        (3, 500, 5000, Verdict.ALLOWED), (1, 1000, 1000, Verdict.DENIED),
    ]  # fmt: skip
    assert (flows[0].edge, flows[0].reporter, flows[0].direction, flows[0].peer_address) == (
        EdgeKey("shop/web", "shop/cart", 80, "http", "GET", "/x"), REPORTER, "in", "10.0.0.1",
    )  # fmt: skip


def test_paths_are_kept_as_sidecars_keep_them() -> None:
    """Of what passed and of what was refused."""
    assert _edge(replace(GET, port=90, protocol="grpc", method="POST", path="/a.B/C")).path == "/a.B/C"
    assert _edge(replace(GET, verdict=Verdict.DENIED)).path == "/x"


@pytest.mark.parametrize(
    ("end", "source"),
    [
        (End(namespace="shop", account="web", app="other"), "shop/web"),
        (End(namespace="shop", account="strange", app="web"), "shop/web"),
        (End(namespace="shop", account="strange", workload="web-v2"), "shop/strange"),
        (End(namespace="shop", workload="web-v2", address="10.0.0.1"), "shop/web"),
        (End(address="10.0.0.1"), "shop/web"),
        (End(address="192.0.2.1"), "ip:192.0.2.1"),
        (End(namespace="shop", app="bad name", address="192.0.2.1"), "ip:192.0.2.1"),
    ],
)
def test_a_source_is_named_by_what_is_known_best(end: End, source: str) -> None:
    assert _edge(replace(GET, source=end)).source == source


@pytest.mark.parametrize(
    ("end", "port", "destination", "called"),
    [
        (End(host="cart.shop.svc.cluster.local"), 80, "shop/cart", 80),
        (End(host="cart.shop.svc", namespace="elsewhere"), 80, "shop/cart", 80),
        (End(host="cart", namespace="shop"), 80, "shop/cart", 80),
        (End(address="10.1.0.2"), 80, "shop/cart", 80),
        (End(address="10.0.0.2"), 8080, "shop/cart", 80),
        (End(host="cart", namespace="shop"), 8080, "shop/cart", 80),
        (End(namespace="shop", app="cart"), 8080, "shop/cart", 80),
        (End(host="api.example.com", address="192.0.2.9"), 443, "outside/api.example.com", 443),
        (End(host="new.shop.svc.cluster.local"), 80, "shop/new", 80),
        (End(namespace="shop", app="new", workload="new-v1"), 80, "shop/new", 80),
        (End(host="www.example.com", address="192.0.2.9"), 443, "external/www.example.com", 443),
        (End(address="192.0.2.9"), 443, "external/192.0.2.9", 443),
        (End(namespace="shop", workload="bad name", address="192.0.2.9"), 443, "external/192.0.2.9", 443),
    ],
)
def test_a_destination_is_what_was_dialled_or_where_it_is(end: End, port: int, destination: str, called: int) -> None:
    edge = _edge(replace(GET, destination=end, port=port))
    assert (edge.destination, edge.port) == (destination, called)


def test_a_declared_protocol_counts_more_than_what_was_seen() -> None:
    assert _edge(replace(GET, port=6379, protocol="tcp", method="", path="")).protocol == "redis"
    assert _edge(replace(GET, port=90, protocol="grpc")).protocol == "grpc"


def test_the_hubble_sample_becomes_the_edges_that_it_shows() -> None:
    parser = FORMATS[HUBBLE](None)
    imported = samples.flows(samples.records(parser, samples.opened(samples.HUBBLE).read().splitlines()))
    flows = flows_of(imported, Topology(), 2**60)
    assert sum(flow.count for flow in flows) == 175
    found = {(flow.edge.source, flow.edge.destination, flow.edge.port): flow.count for flow in flows}
    assert {edge: count for edge, count in found.items() if "bookinfo" in edge[0]} == {
        ("bookinfo/bookinfo-ratings", "bookinfo/productpage", 9080): 35,
        ("bookinfo/bookinfo-productpage", "bookinfo/reviews", 9080): 1,
    }
