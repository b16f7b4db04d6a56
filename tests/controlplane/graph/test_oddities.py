"""Marks on learned edges, and the order of a review."""

from __future__ import annotations

import random

import pytest

from controlplane.graph.learn import GraphEdge
from controlplane.graph.oddities import Mark, Oddity, Surroundings, find_oddities, surroundings_of
from controlplane.topology.model import Kind, Service, ServiceName, Topology
from tests.controlplane.graph.teams import intrusions, mesh

DAY_MS = 86_400_000
NOTHING = Surroundings()


def edge(source: str, destination: str, first_ms: int = 0, count: int = 100, port: int = 80) -> GraphEdge:
    return GraphEdge(source, destination, port, "http", (), count, first_ms, first_ms)


@pytest.mark.parametrize(
    ("source", "reason"),
    [
        ("shop/gateway", "shop/db is a datastore, and shop/gateway takes traffic from outside"),
        ("ip:10.0.0.1", "shop/db is a datastore, and ip:10.0.0.1 has no identity"),
        ("shop/ads", "shop/db is a datastore, and shop/ads is marked as of low trust"),
        ("shop/cart", ""),
    ],
)
def test_low_trust_that_reaches_for_what_is_sensitive_is_marked(source: str, reason: str) -> None:
    kinds = {"gateway": Kind.GATEWAY, "db": Kind.DATASTORE, "cart": Kind.SERVICE}
    topology = Topology.of(Service(ServiceName("shop", name), kind) for name, kind in kinds.items())
    wanted = edge(source, "shop/db")
    found = find_oddities([wanted], [], surroundings_of(topology, low_trust=["shop/ads"]))
    assert found == ({wanted: (Mark(Oddity.SENSITIVE, reason),)} if reason else {})


def test_names_that_people_mark_as_sensitive_count() -> None:
    found = find_oddities([edge("ip:10.0.0.1", "shop/pay")], [], surroundings_of(Topology(), sensitive=["shop/pay"]))
    reasons = [mark.reason for marks in found.values() for mark in marks]
    assert reasons == ["shop/pay is marked as sensitive, and ip:10.0.0.1 has no identity"]


def test_scans_bursts_and_crowds_are_marked_with_their_reasons() -> None:
    scan = [edge("shop/web", f"shop/s{number}", count=1) for number in range(12)]
    burst = [edge("shop/old", "shop/a"), *(edge("shop/old", f"shop/n{number}", 5 * DAY_MS) for number in range(5))]
    wide = edge("shop/x", "shop/wide")
    found = find_oddities([*scan, *burst, wide], [], Surroundings(crowded={("shop/wide", 80)}))
    assert {marked: tuple(mark.oddity for mark in marks) for marked, marks in found.items()} == {
        **dict.fromkeys(scan, (Oddity.SCAN,)),
        **dict.fromkeys(burst[1:], (Oddity.BURST,)),
        wide: (Oddity.CROWDED,),
    }
    assert found[wide][0].reason == "shop/wide:80 was asked for more paths than can be told apart"


def test_what_link_prediction_finds_odd_is_marked_on_every_port() -> None:
    usual = [edge(*pair) for pair in mesh(20, 10)]
    (pair,) = intrusions(20, 10, 1)
    bad = [edge(*pair), edge(*pair, port=81)]
    found = find_oddities(usual + bad, usual, NOTHING)
    assert set(found) == set(bad)
    assert {mark.oddity for marks in found.values() for mark in marks} == {Oddity.UNLIKELY}


def test_what_is_approved_is_not_marked() -> None:
    scan = [edge("shop/web", f"shop/s{number}", count=1) for number in range(12)]
    assert set(find_oddities(scan, scan[:3], NOTHING)) == set(scan[3:])


def test_marks_do_not_depend_on_the_order_of_edges() -> None:
    edges = [edge(*pair, count=number % 7) for number, pair in enumerate(mesh(10, 10) + intrusions(10, 10, 5))]
    shuffled = random.Random(3).sample(edges, len(edges))
    assert find_oddities(edges, [], NOTHING) == find_oddities(shuffled, [], NOTHING)


def test_hundreds_of_usual_edges_get_few_marks() -> None:
    edges = [edge(*pair, first_ms=number) for number, pair in enumerate(mesh(30, 12))]
    assert len(find_oddities(edges, [], NOTHING)) <= 0.05 * len(edges)
