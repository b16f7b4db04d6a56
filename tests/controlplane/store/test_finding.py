"""Violations are found page by page and counted, whatever is asked for and however little a page may look through."""

from __future__ import annotations

import fnmatch
import itertools
import re
from collections.abc import Iterator
from dataclasses import replace

import pytest

from controlplane.flows.model import EdgeKey, Flow, Verdict, Violation
from controlplane.graph.evidence import HOUR_MS
from controlplane.store import finding
from controlplane.store.sql import SqlStore
from controlplane.store.stored import Prunable, ViolationFilter
from controlplane.violations.line import parse
from controlplane.violations.query import EXACT, Field, Query, Term

NOW_MS = 100 * HOUR_MS
LINES = (
    "", "from:shop/web", "to:shop/db", "from:shop/web to:shop/db", "from:shop/*", "-from:shop/web", "to:*B", "port:5432,80",
    "verdict:would-deny", "verdict:denied to:shop/cart -path:/a*", "protocol:http method:POST", "path:/a_b%c", "path:/a?b",
    "host:*.example.org", "sni:db.internal", "peer:10.0.0.*", "reporter:shop/db", "deny:shop/cart@r7", "deny:deny:shop/cart*",
    "revision:7", "-revision:7", '"EXAMPLE.org"', '-"a_b%c"', "since:50h until:20h", "from:shop/web since:30h x",
    "from:nobody/there",
    "deny:shop/web@r7/egress verdict:denied port:80", "to:shop/cart,shop/db verdict:would-deny since:90h",
)  # fmt: skip
#: Of what is summed by the hour alone: who, whom, at which port, and the verdict.
SUMMED_LINES = (
    "", "from:shop/web", "to:shop/db", "from:shop/web to:shop/db", "from:shop/*", "-from:shop/web", "to:*B", "port:5432,80",
    "verdict:would-deny",
)  # fmt: skip


def flows() -> Iterator[Flow]:
    """Some of every kind, over four days."""
    kinds = itertools.product(("shop/web", "shop/api"), (("shop/cart", 80), ("shop/db", 5432)), Verdict, range(3))
    for number, (source, (destination, port), verdict, shape) in enumerate(kinds):
        if verdict is Verdict.ALLOWED:
            continue
        path = ("/a_b%c", "/axb", "")[shape]
        edge = EdgeKey(source, destination, port, "http" if path else "tcp", "POST" if path else "", path)
        deny_id = f"deny:{destination}@r7" if shape == 0 else f"deny:{source}@r7{shape}/egress" if shape == 1 else ""
        for hours in (1, 2, 25, 60, 90):
            seen_ms = NOW_MS - hours * HOUR_MS - (number % 5) * 600_000
            host, name = ("cart.Example.org", "") if shape else ("", "db.internal")
            yield Flow(edge, verdict, destination, "in", number % 7, seen_ms, seen_ms, host, name, f"10.0.{shape}.9", deny_id)


@pytest.fixture
def stored(store: SqlStore) -> SqlStore:
    with store.transaction() as transaction:
        transaction.record_batch("shop/db", "db-0", "a" * 32, 1, list(flows()), 0, NOW_MS)
    return store


def filter_of(line: str) -> ViolationFilter:
    query = parse(line, NOW_MS)
    assert isinstance(query, Query)
    return ViolationFilter(since_ms=query.since_ms, until_ms=query.until_ms, terms=query.terms)


def matches(violation: Violation, wanted: ViolationFilter) -> bool:
    """What a filter means, said once more and slowly."""
    at_ms = violation.last_seen_ms
    within = wanted.since_ms <= at_ms and (not wanted.until_ms or at_ms < wanted.until_ms)
    return within and all(any(_is(violation, term, value) for value in term.values) is not term.excludes for term in wanted.terms)


def _is(violation: Violation, term: Term, value: str) -> bool:
    edge = violation.edge
    texts = {
        Field.SOURCE: edge.source, Field.DESTINATION: edge.destination, Field.VERDICT: str(violation.verdict),
        Field.PORT: str(edge.port), Field.PROTOCOL: edge.protocol, Field.METHOD: edge.method, Field.PATH: edge.path,
        Field.HOST: violation.host, Field.SNI: violation.server_name, Field.PEER: violation.peer_address,
        Field.REPORTER: violation.reporter, Field.DENY_ID: violation.deny_id.removeprefix("deny:"),
        Field.REVISION: violation.deny_id,
    }  # fmt: skip
    if term.field is Field.TEXT:
        rest = (violation.reason, violation.deny_id)
        return any(value.lower() in text.lower() for name, text in texts.items() if name not in EXACT for text in (text, *rest))
    text = texts[term.field]
    if term.field is Field.REVISION:
        return re.search(f"@r{value}(/|$)", text) is not None
    if "*" in value:
        return fnmatch.fnmatchcase(text.lower(), re.sub(r"([\[?])", r"[\1]", value.lower()))
    return text == value


def pages(store: SqlStore, wanted: ViolationFilter) -> list[int]:
    """The IDs of all pages of four."""
    seen: list[int] = []
    before = None
    for _ in range(500):
        page = store.violation_page(replace(wanted, before=before), 4)
        assert len(page.violations) <= 4
        seen += [violation.id for violation in page.violations]
        before = page.before
        if before is None:
            return seen
    raise AssertionError("the pages have no end")


def test_pages_hold_each_match_once_newest_first(stored: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where a page may look through fewer rows than it has, and into a single span of hours."""
    everything = stored.violations(ViolationFilter(), 1_000)
    expected = {line: [v.id for v in everything if matches(v, filter_of(line))] for line in LINES}
    assert {line: pages(stored, filter_of(line)) for line in LINES} == expected
    assert {line: [v.id for v in stored.violations(filter_of(line), 1_000)] for line in LINES} == expected
    for name, bound in (("EXAMINED", 7), ("MAX_SPANS", 1), ("SUMMED", 5)):
        monkeypatch.setattr(finding, name, bound)
    assert {line: pages(stored, filter_of(line)) for line in LINES} == expected


def test_counts_are_of_rows_and_where_there_are_many_of_hours(stored: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    everything = stored.violations(ViolationFilter(), 1_000)
    totals = {line: sum(v.count for v in everything if matches(v, filter_of(line))) for line in LINES}
    exact = {line: stored.count_violations(filter_of(line)) for line in LINES}
    assert {line: found.total for line, found in exact.items()} == totals
    assert {(found.width_ms, found.is_complete) for found in exact.values()} == {(1, True)}
    monkeypatch.setattr(finding, "COUNTED", 1)
    for line in LINES:
        rough = stored.count_violations(filter_of(line))
        assert rough.is_complete or line not in SUMMED_LINES, line
        if rough.is_complete and "since" not in line:
            assert rough.total == totals[line]
        assert rough.total <= totals[line] or "since" in line


def test_counts_beyond_what_is_summed_say_so(stored: SqlStore, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(finding, "COUNTED", 1)
    monkeypatch.setattr(finding, "SUMMED", 3)
    found = stored.count_violations(ViolationFilter())
    assert (found.is_complete, found.width_ms, found.total > 0) == (False, HOUR_MS, True)


def test_sums_by_the_hour_are_removed_by_age(stored: SqlStore) -> None:
    removed = stored.prune(Prunable.VIOLATION_HOURS, NOW_MS - 40 * HOUR_MS, 1_000)
    assert removed > 0
    assert stored.prune(Prunable.VIOLATION_HOURS, NOW_MS - 40 * HOUR_MS, 1_000) == 0
