"""The ledger: the same in whatever order flows come, and bounded per source."""

from __future__ import annotations

import random
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.ledger import UNSAYABLE, Ledger
from tests.controlplane.graph.paths import HOSTILE, PATHS

EDGE = EdgeKey("shop/front", "shop/cart", 80, "http", "GET", "/cart")


def flow(at_ms: int = 1, count: int = 1, edge: EdgeKey = EDGE) -> Flow:
    return Flow(edge, Verdict.ALLOWED, edge.destination, "in", count, at_ms, at_ms)


FLOWS = st.builds(
    lambda at_ms, count, source, path, replica: (flow(at_ms, count, EDGE._replace(source=source, path=path)), replica),
    st.integers(1, 10**12), st.integers(0, 5), st.sampled_from(["a/a", "a/b", "ip:10.0.0.1", "ip:10.0.0.2", "ip:10.0.0.3"]),
    PATHS | HOSTILE | st.just(""), st.sampled_from(["", "r1", "r2", "r3"]),
)  # fmt: skip


def ledger(flows: list[tuple[Flow, str]], limit: int = 3) -> Ledger:
    learned = Ledger(limit)
    for seen, replica in flows:
        learned.add(replace(seen, image=f"sha256:{replica}" if replica else ""), replica)
    return learned


@given(st.lists(FLOWS, max_size=30), st.randoms(use_true_random=False), st.integers(0, 30))
def test_order_and_merging_change_nothing(flows: list[tuple[Flow, str]], chance: random.Random, cut: int) -> None:
    other = chance.sample(flows, len(flows))
    merged, second = ledger(other[:cut]), ledger(other[cut:])
    for edge, evidence in second.edges.items():
        merged.merge(edge, evidence)
    whole = ledger(flows)
    assert whole.edges == ledger(other).edges == merged.edges
    assert whole.overflowing == ledger(other).overflowing


@given(st.lists(FLOWS, max_size=30))
def test_a_flow_that_comes_again_changes_nothing_but_the_count(flows: list[tuple[Flow, str]]) -> None:
    once, twice = ledger(flows), ledger(flows + flows)
    assert once.edges.keys() == twice.edges.keys()
    for edge, evidence in once.edges.items():
        again = twice.edges[edge]
        assert again.count == 2 * evidence.count
        again.count = evidence.count
        assert again == evidence


def test_identifiers_in_paths_make_no_edges_and_are_counted() -> None:
    learned = ledger([(flow(edge=EDGE._replace(path=f"/cart/{number}/items/{number % 2}")), "") for number in range(9)])
    ((edge, evidence),) = learned.edges.items()
    assert edge.path == "/cart/{id}/items/{id}"
    assert [values.count for values in evidence.values] == [9, 2]


@pytest.mark.parametrize("path", ["/{id}", "/a*", "/a/../b", "/é", UNSAYABLE])
def test_paths_that_no_pattern_may_stand_for_are_one_edge_that_asks_for_nothing(path: str) -> None:
    assert [edge.path for edge in ledger([(flow(edge=EDGE._replace(path=path)), "")]).edges] == [UNSAYABLE]


def test_methods_of_grpc_are_kept_as_they_are() -> None:
    edge = EDGE._replace(protocol="grpc", path="/shop.Cart1234/Get4711")
    assert list(ledger([(flow(edge=edge), "")]).edges) == [edge]


@pytest.mark.parametrize("source", ["shop/front", "ip:10.0.0.{}"])
def test_a_source_with_too_many_edges_keeps_some_and_says_so(source: str) -> None:
    """All peers without identity count as one source: addresses are free to make up."""
    learned = Ledger(10)
    learned.add(flow(edge=EDGE._replace(source="shop/other")))
    for port in range(1, 100):
        learned.add(flow(edge=EDGE._replace(source=source.format(port), port=port)))
    assert len(learned.edges) == 11
    assert learned.overflowing == {"ip:" if source.startswith("ip:") else source}


def test_edges_of_a_destination() -> None:
    learned = ledger([(flow(), ""), (flow(edge=EDGE._replace(destination="shop/db")), "")])
    assert [edge for edge, _ in learned.of("shop/cart")] == [EDGE]
