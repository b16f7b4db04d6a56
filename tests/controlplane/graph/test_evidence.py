"""Evidence per edge: the same in whatever order flows come, and bounded."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.graph.evidence import DAY_MS, HOUR_MS, MAX_DAYS, Evidence, Ledger, hour_of_week

MONDAY_MS = 1_699_833_600_000  # 2023-11-13
EDGE = EdgeKey("shop/front", "shop/cart", 80, "http", "GET", "/cart/{id}")


def flow(first_ms: int, last_ms: int | None = None, count: int = 1, edge: EdgeKey = EDGE) -> Flow:
    return Flow(edge, Verdict.ALLOWED, edge.destination, "in", count, first_ms, first_ms if last_ms is None else last_ms)


TIMES = st.integers(0, 200).map(lambda hours: MONDAY_MS + hours * 20 * HOUR_MS) | st.integers(1, 253_402_300_799_999)
FLOWS = st.builds(
    lambda times, count, source, replica: (flow(min(times), max(times), count, EDGE._replace(source=source)), replica),
    st.tuples(TIMES, TIMES), st.integers(0, 5), st.sampled_from(["a/a", "a/b", "ip:10.0.0.1", "ip:10.0.0.2", "ip:10.0.0.3"]),
    st.sampled_from(["", "r1", "r2", "r3"]),
)  # fmt: skip


def ledger(flows: list[tuple[Flow, str]], limit: int = 2) -> Ledger:
    learned = Ledger(limit)
    for seen, replica in flows:
        learned.add(seen, replica, f"sha256:{replica}" if replica else "")
    return learned


@given(st.lists(FLOWS, max_size=30), st.randoms(use_true_random=False), st.integers(0, 30))
def test_order_and_merging_change_nothing(flows: list[tuple[Flow, str]], chance: random.Random, cut: int) -> None:
    other = chance.sample(flows, len(flows))
    first, second = ledger(other[:cut]), ledger(other[cut:])
    for edge, evidence in second.edges.items():
        first.merge(edge, evidence)
    whole = ledger(flows)
    assert whole.edges == ledger(other).edges
    assert whole.overflowing == ledger(other).overflowing
    assert whole.edges == first.edges


@given(st.lists(FLOWS, max_size=30))
def test_a_flow_that_comes_again_changes_nothing_but_the_count(flows: list[tuple[Flow, str]]) -> None:
    once, twice = ledger(flows), ledger(flows + flows)
    assert once.edges.keys() == twice.edges.keys()
    for edge, evidence in once.edges.items():
        again = twice.edges[edge]
        assert again.count == 2 * evidence.count
        again.count = evidence.count
        assert again == evidence


@given(st.lists(st.tuples(TIMES, TIMES), min_size=1, max_size=20))
def test_days_and_hours_are_those_of_both_ends(times: list[tuple[int, int]]) -> None:
    evidence = Evidence(1, min(times[0]), max(times[0]))
    for pair in times[1:]:
        evidence.see(1, min(pair), max(pair))
    ends = [end for pair in times for end in pair]
    last = max(ends) // DAY_MS
    back = {last - end // DAY_MS for end in ends if last - end // DAY_MS < MAX_DAYS}
    assert {place for place in range(MAX_DAYS + 5) if evidence.days >> place & 1} == back
    assert evidence.days_used == len(back)
    assert {place for place in range(170) if evidence.hours >> place & 1} == {hour_of_week(end) for end in ends}
    assert (evidence.count, evidence.first_seen_ms, evidence.last_seen_ms) == (len(times), min(ends), max(ends))


def test_weeks_begin_on_monday_in_utc() -> None:
    assert hour_of_week(MONDAY_MS) == 0
    assert hour_of_week(MONDAY_MS - 1) == 167
    assert hour_of_week(MONDAY_MS + 25 * HOUR_MS) == 25


def test_replicas_and_images_of_the_source_are_counted() -> None:
    learned = ledger([(flow(1), "r1"), (flow(2), "r2"), (flow(3), "r1"), (flow(4), "")])
    evidence = learned.edges[EDGE]
    assert evidence.replicas is not None
    assert evidence.replicas.count == 2
    assert evidence.images is not None
    assert evidence.images.examples == ("sha256:r1", "sha256:r2")
    assert ledger([(flow(1), "")]).edges[EDGE].replicas is None


@pytest.mark.parametrize("source", ["shop/front", "ip:10.0.0.{}"])
def test_a_source_with_too_many_edges_keeps_some_and_says_so(source: str) -> None:
    """All peers without identity count as one source: addresses are free to make up."""
    learned = Ledger(10)
    learned.add(flow(1, edge=EDGE._replace(source="shop/other")))
    for port in range(1, 100):
        learned.add(flow(1, edge=EDGE._replace(source=source.format(port), port=port)))
    assert len(learned.edges) == 11
    assert learned.overflowing == {"ip:" if source.startswith("ip:") else source}


def test_edges_of_a_destination() -> None:
    learned = ledger([(flow(1), ""), (flow(1, edge=EDGE._replace(destination="shop/db")), "")])
    assert [edge for edge, _ in learned.of("shop/cart")] == [EDGE]
