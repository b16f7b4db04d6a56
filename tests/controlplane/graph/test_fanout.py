"""Scans and bursts: found in what an attacker does, and not in what a start or a busy service does."""

from __future__ import annotations

from controlplane.graph.fanout import Thresholds, bursts, scans
from controlplane.graph.learn import GraphEdge

LIMITS = Thresholds()
MINUTE_MS, DAY_MS = 60_000, 86_400_000


def edge(destination: str, first_ms: int, count: int = 1, port: int = 80, source: str = "shop/web") -> GraphEdge:
    return GraphEdge(source, destination, port, "tcp", (), count, first_ms, first_ms)


def test_many_targets_hardly_used_within_minutes_are_a_scan() -> None:
    edges = [edge(f"shop/s{number}", number * 1000) for number in range(20)]
    found = dict(scans([*edges, edge("shop/cart", 5, count=1000)], LIMITS))
    assert set(found) == set(edges)
    assert found[edges[0]] == "shop/web tried 20 ports of 20 destinations within 10 minutes, none more than 3 times"


def test_some_ports_of_one_destination_are_a_scan() -> None:
    edges = [edge("shop/db", port, port=port) for port in range(1, 6)]
    found = dict(scans([*edges, edge("shop/cart", 0)], LIMITS))
    assert set(found) == set(edges)
    assert found[edges[0]] == "shop/web tried 5 ports of shop/db within 10 minutes, none more than 3 times"


def test_a_slow_or_busy_or_shared_fan_out_is_no_scan() -> None:
    slow = [edge(f"shop/s{number}", number * 11 * MINUTE_MS) for number in range(30)]
    busy = [edge(f"shop/s{number}", 0, count=4) for number in range(30)]
    shared = [edge("shop/cart", 0, source=f"shop/w{number}") for number in range(30)]
    assert not list(scans(slow + busy, LIMITS))
    assert not list(scans(shared, LIMITS))


def test_a_scan_in_the_middle_of_slow_traffic_is_found() -> None:
    before = [edge(f"shop/a{number}", number * DAY_MS) for number in range(5)]
    scan = [edge(f"shop/s{number}", 10 * DAY_MS + number) for number in range(12)]
    after = [edge(f"shop/z{number}", (11 + number) * DAY_MS) for number in range(5)]
    assert {found for found, _ in scans(after + scan + before, LIMITS)} == set(scan)


def test_a_scan_that_begins_within_the_time_of_something_else_is_found() -> None:
    first = edge("shop/first", 0)
    scan = [*(edge(f"shop/s{number}", 9 * MINUTE_MS) for number in range(11)), edge("shop/last", 11 * MINUTE_MS)]
    assert {found for found, _ in scans([first, *scan], LIMITS)} >= set(scan)


def test_as_many_new_destinations_at_once_as_in_all_days_before_are_a_burst() -> None:
    old = [edge(f"shop/o{number}", number, count=1000) for number in range(4)]
    new = [edge(f"shop/n{number}", 9 * DAY_MS + number * MINUTE_MS, count=1000) for number in range(6)]
    again = edge("shop/n0", 12 * DAY_MS, count=50, port=81)
    found = dict(bursts([*new, *old, again], LIMITS))
    assert set(found) == {*new, again}
    assert found[new[0]] == "shop/web called 6 new destinations within 60 minutes, after 4 in 9 days"


def test_a_start_is_no_burst_and_neither_is_slow_growth_or_a_few_more() -> None:
    start = [edge(f"shop/s{number}", number) for number in range(40)]
    assert not list(bursts(start, LIMITS))
    grown = [*start, *(edge(f"shop/n{number}", 9 * DAY_MS + number) for number in range(10))]
    assert not list(bursts(grown, LIMITS))
    slow = [edge(f"shop/s{number}", number * DAY_MS) for number in range(40)]
    assert not list(bursts(slow, LIMITS))
    few = [edge("shop/a", 0), *(edge(f"shop/n{number}", 9 * DAY_MS) for number in range(4))]
    assert not list(bursts(few, LIMITS))
