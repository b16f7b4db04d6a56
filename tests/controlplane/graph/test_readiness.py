"""Readiness: what is said of a service that was watched for some days, and what is missing."""

from __future__ import annotations

import random
from collections.abc import Iterable

import pytest

from controlplane.flows.model import EdgeKey
from controlplane.graph.evidence import DAY_MS, HOUR_MS, Evidence
from controlplane.graph.readiness import MAX_EXAMPLES, Lack, Readiness, assess, assess_all, is_weekly, weekday
from controlplane.graph.watch import Watch

START_MS = 1_699_833_600_000  # Monday, 2023-11-13


def edge(number: int = 0, source: str = "shop/front", destination: str = "shop/cart") -> EdgeKey:
    return EdgeKey(source, destination, 80, "http", "GET", f"/{number}")


def used(*days: int) -> Evidence:
    first, *rest = (START_MS + day * DAY_MS + 12 * HOUR_MS for day in days)
    evidence = Evidence(1, first, first)
    for at_ms in rest:
        evidence.see(1, at_ms, at_ms)
    return evidence


def watched(days: Iterable[int], lost: int = 0, *, restart: bool = True) -> Watch:
    watch = Watch()
    for day in days:
        for hour in range(24):
            watch.hear(START_MS + day * DAY_MS + hour * HOUR_MS)
    if lost:
        assert watch.last_ms is not None
        watch.hear(watch.last_ms, lost)
    watch.start("r1", START_MS + (DAY_MS if restart else 0))
    return watch


def lacks(readiness: Readiness) -> set[Lack]:
    return {missing.lack for missing in readiness.missing}


def test_a_service_seen_steadily_for_a_month_lacks_nothing() -> None:
    found = assess("shop/cart", [(edge(n), used(*range(35))) for n in range(20)], watched(range(35)))
    assert found.missing == ()
    assert found.summary == "enforce now and expect 0 denials a day"
    assert found.denials_a_day is not None
    assert (found.denials_a_day.expected, found.unseen_edges_at_least, found.completeness) == (0, 0, 1)
    assert (found.edges, found.full_days, found.hours_of_week, found.weekdays) == (20, 35, 168, frozenset(range(7)))


def test_edges_that_were_used_on_one_day_only_are_named_latest_first_and_make_denials_likely() -> None:
    edges = [(edge(n), used(*range(10))) for n in range(20)] + [(edge(100 + day), used(day)) for day in range(10)]
    found = assess("shop/cart", edges, watched(range(10)))
    assert found.denials_a_day is not None
    assert found.denials_a_day.expected == 1
    assert found.summary == "enforce now and expect 0-4 denials a day"
    assert found.seen_once == tuple(edge(100 + day) for day in reversed(range(MAX_EXAMPLES)))


def test_days_that_were_not_watched_do_not_count_for_an_edge() -> None:
    """Otherwise what came in a half-watched night would look as if it came twice."""
    watch = watched(range(5))
    watch.hear(START_MS + 5 * DAY_MS)
    found = assess("shop/cart", [(edge(), used(2, 5))], watch)
    assert found.full_days == 5
    assert found.seen_once == (edge(),)


@pytest.mark.parametrize("days", [0, 3])
def test_too_few_days_say_nothing(days: int) -> None:
    found = assess("shop/cart", [(edge(), used(0))], watched(range(days)))
    assert (found.denials_a_day, found.unseen_edges_at_least, found.completeness) == (None, None, None)
    assert found.summary == f"too early to say: {days} whole days watched, 5 are needed"
    assert Lack.DAYS in lacks(found)


def test_what_was_not_watched_is_named() -> None:
    found = assess("shop/cart", [(edge(), used(0))], watched([0, 1, 3, 4, 7, 8], lost=1000, restart=False))
    assert {missing.lack: missing.text for missing in found.missing} == {
        Lack.WEEKDAYS: "not watched yet: Wednesday, Saturday, Sunday; a weekly job may run then",
        Lack.HOURS: "72 of the 168 hours of a week not watched",
        Lack.MONTH: "no turn of a month watched (its last day and the next one's first); a monthly job may run then",
        Lack.GAPS: "nothing heard in 72 hours in between",
        Lack.LOST: "1,000 log lines lost, in 1 hour",
        Lack.RESTART: "no replica was seen to start; what it calls only then is not known",
    }


@pytest.mark.parametrize(("days", "lacking"), [(range(10, 17), True), (range(16, 19), False), ([17, 19], True)])
def test_a_turn_of_a_month_is_its_last_day_and_the_next_first(days: Iterable[int], *, lacking: bool) -> None:
    """The 18th day from the 13th of November is the first of December."""
    assert (Lack.MONTH in lacks(assess("s", [], watched(days)))) is lacking


def test_no_edges_and_dropped_edges_are_said() -> None:
    watch = watched(range(35))
    assert lacks(assess("s", [], watch)) == {Lack.EDGES}
    assert lacks(assess("s", [(edge(), used(*range(35)))], watch, is_overflowing=True)) == {Lack.EDGES}


def test_a_weekly_job_is_known_once_it_came_twice() -> None:
    assert is_weekly(used(3, 10, 17))
    assert not is_weekly(used(3))
    assert not is_weekly(used(3, 10, 11))
    assert weekday(START_MS // DAY_MS) == 0
    found = assess("s", [(edge(1), used(*range(14))), (edge(2), used(3, 10))], watched(range(14)))
    assert found.weekly == (edge(2),)


def test_the_whole_graph_misses_what_its_services_miss_and_externals_are_watched_by_their_callers() -> None:
    edges = {
        edge(1): used(*range(35)),
        edge(2, "shop/cart", "external/api.example.com"): used(*range(35)),
        edge(3, "shop/cart", "shop/db"): used(0),
    }
    watches = {"shop/cart": watched(range(35)), "shop/front": watched(range(35)), "shop/db": watched(range(2))}
    whole, services = assess_all(edges, watches)
    by_name = {service.subject: service for service in services}
    assert list(by_name) == ["external/api.example.com", "shop/cart", "shop/db", "shop/front"]
    assert by_name["external/api.example.com"].missing == ()
    assert by_name["shop/front"].edges == 0
    assert whole.subject == ""
    assert whole.edges == 3
    texts = [missing.text for missing in whole.missing]
    assert "too few whole days watched: 1 of 4 services (shop/db)" in texts
    assert "no edge seen, or more than are kept: 1 of 4 services (shop/front)" in texts


def test_a_source_that_overflows_is_said_where_it_calls() -> None:
    edges = {edge(1, "ip:10.0.0.1"): used(*range(35)), edge(2, destination="shop/db"): used(*range(35))}
    watches = {"shop/cart": watched(range(35)), "shop/db": watched(range(35))}
    whole, (cart, db) = assess_all(edges, watches, frozenset({"ip:"}))
    assert (lacks(cart), lacks(db), lacks(whole)) == ({Lack.EDGES}, set(), {Lack.EDGES})


def test_denials_on_the_next_day_are_as_many_as_was_said() -> None:
    """From evidence and watch, as a control plane has them, in at least nine of ten simulated services."""
    chance = random.Random(7)
    covered = 0
    for _ in range(200):
        edges = []
        new = 0
        for number in range(80):
            likely = 0.99 if chance.random() < 0.7 else 10 ** chance.uniform(-2.5, -0.3)
            days = [day for day in range(11) if chance.random() < likely]
            if days and days[0] == 10:
                new += 1
            elif days:
                edges.append((edge(number), used(*(day for day in days if day < 10))))
        expected = assess("s", edges, watched(range(10))).denials_a_day
        assert expected is not None
        covered += expected.low <= new <= expected.high
    assert covered >= 180
