"""How violations are grouped into incidents."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Verdict, Violation
from controlplane.violations.incidents import (
    AFTER_CHANGE_MS,
    MAX_NAMES,
    QUIET_MS,
    SCAN_PATHS,
    SCAN_PLACES,
    Change,
    Found,
    Kind,
    Surroundings,
    group,
)
from controlplane.violations.line import parse, write
from controlplane.violations.query import Field

MINUTE_MS = 60_000
START_MS = 1_000 * MINUTE_MS


def violation(
    number: int, source: str, destination: str, port: int = 80, at_ms: int = START_MS, path: str = "", *, denied: bool = True
) -> Violation:
    edge = EdgeKey(source, destination, port, "http", "GET", path)
    verdict = Verdict.DENIED if denied else Verdict.WOULD_DENY
    return Violation(number, edge, verdict, destination, "in", 1, at_ms, at_ms, "", "", "", "deny:x@r1", "")


def only(violations: list[Violation], known: Surroundings | None = None) -> Found:
    (found,) = group(violations, known or Surroundings())
    return found


def test_one_source_at_many_places_is_a_scan() -> None:
    found = only([violation(n, "shop/web", f"shop/s{n % 4}", 80 + n // 4, denied=n > 1) for n in range(SCAN_PLACES)])
    assert (found.kind, found.place_count, found.count, found.denied) == (Kind.SCAN, SCAN_PLACES, SCAN_PLACES, SCAN_PLACES - 2)
    assert found.why == "shop/web tries 8 places that it was never allowed"


def test_many_paths_of_one_place_are_a_scan() -> None:
    found = only([violation(n, "shop/web", "shop/cart", path=f"/{n}") for n in range(SCAN_PATHS)])
    assert (found.kind, found.places) == (Kind.SCAN, ("shop/cart:80",))


def test_a_few_places_are_no_scan() -> None:
    found = only([violation(n, "shop/web", f"shop/s{n}") for n in range(SCAN_PLACES - 1)])
    assert found.kind is Kind.OTHER


def test_what_was_in_use_until_a_change_is_a_misconfiguration() -> None:
    """Of all its sources together, for it has one cause."""
    used = {("shop/web", "shop/cart", 80): 1, ("shop/api", "shop/cart", 80): 1}
    changes = [Change(START_MS - minutes * MINUTE_MS, "shop/cart", f"revision {8 - minutes}") for minutes in (1, 2)]
    seen = [violation(1, "shop/web", "shop/cart"), violation(2, "shop/api", "shop/cart", at_ms=START_MS + MINUTE_MS)]
    found = only(seen, Surroundings(used, changes))
    assert (found.kind, found.sources) == (Kind.MISCONFIGURATION, ("shop/web", "shop/api"))
    assert found.why == "edges that were in use are refused since 60 s after revision 7"


def test_what_was_in_use_once_is_a_stale_client() -> None:
    known = Surroundings({("shop/web", "shop/cart", 80): 1}, [Change(START_MS - AFTER_CHANGE_MS - 1, "shop/cart", "revision 7")])
    assert only([violation(1, "shop/web", "shop/cart")], known).kind is Kind.STALE_CLIENT


def test_what_is_allowed_only_since_then_was_not_in_use() -> None:
    """A timed exception after the denial does not make a stale client of it."""
    known = Surroundings({("shop/web", "shop/cart", 80): START_MS + 1})
    assert only([violation(1, "shop/web", "shop/cart")], known).kind is Kind.OTHER


def test_sources_that_reach_one_another_in_their_order_are_one_movement() -> None:
    """Over an approved edge, or over what only would have been denied."""
    seen = [
        violation(1, "shop/web", "shop/vault"),
        violation(2, "shop/cart", "shop/vault", at_ms=START_MS + 5 * MINUTE_MS),
        violation(3, "shop/cart", "shop/db", at_ms=START_MS + 6 * MINUTE_MS, denied=False),
        violation(4, "shop/db", "shop/mail", at_ms=START_MS + 9 * MINUTE_MS),
    ]
    found = only(seen, Surroundings(callees={"shop/web": ["shop/cart"]}))
    assert (found.kind, found.anchor, found.sources) == (Kind.LATERAL_MOVEMENT, "shop/web", ("shop/web", "shop/cart", "shop/db"))


def test_a_long_movement_is_told_by_its_first_names_and_a_count() -> None:
    names = [f"shop/w{number}" for number in range(6)]
    seen = [violation(number, name, "shop/vault", at_ms=START_MS + number * MINUTE_MS) for number, name in enumerate(names, 1)]
    found = only(seen, Surroundings(callees=dict.fromkeys(names, names)))
    assert found.why.endswith(": shop/w0, then shop/w1, then shop/w2, and 3 more")
    assert found.sources == tuple(names)


def test_sources_that_do_not_reach_one_another_are_apart() -> None:
    seen = [violation(1, "shop/web", "shop/vault"), violation(2, "shop/cart", "shop/vault", at_ms=START_MS + MINUTE_MS)]
    assert [found.kind for found in group(seen, Surroundings(callees={"shop/cart": ["shop/web"]}))] == [Kind.OTHER, Kind.OTHER]


def test_a_long_silence_ends_an_incident() -> None:
    seen = [violation(1, "shop/web", "shop/vault"), violation(2, "shop/web", "shop/vault", at_ms=START_MS + QUIET_MS + 1)]
    assert len(group(seen, Surroundings())) == 2


def test_an_incident_asks_the_log_for_its_violations() -> None:
    query = only([violation(1, "shop/web", "shop/vault"), violation(2, "shop/web", "shop/db")]).query
    assert [(term.field, term.values) for term in query.terms] == [
        (Field.SOURCE, ("shop/web",)), (Field.DESTINATION, ("shop/vault", "shop/db")),
    ]  # fmt: skip
    assert (query.since_ms, query.until_ms) == (START_MS, START_MS + 1)


def test_a_large_incident_asks_in_a_line_that_reads() -> None:
    """By its destination where that is one, else by its first sources."""
    names = [f"{'n' * 60}{number:02}/{'a' * 60}" for number in range(MAX_NAMES)]
    used = {(name, "shop/cart", 80): 1 for name in names}
    known = Surroundings(used, [Change(START_MS - 1, "shop/cart", "revision 7")], {names[0]: names[1:]})
    broken = only([violation(n, name, "shop/cart") for n, name in enumerate(names)], known)
    assert [term.field for term in broken.query.terms] == [Field.DESTINATION]
    wide = only([violation(n, name, names[-n], 90 + n, START_MS + n) for n, name in enumerate(names)], known)
    assert [term.field for term in wide.query.terms] == [Field.SOURCE]
    assert parse(write(wide.query), START_MS) == wide.query


_NAMES = st.sampled_from(["shop/a", "shop/b", "shop/c", "ip:10.0.0.9"])
_SEEN = st.lists(st.tuples(_NAMES, _NAMES, st.integers(80, 82), st.integers(0, 120), st.booleans()), max_size=40)
_KNOWN = st.builds(
    Surroundings,
    st.dictionaries(st.tuples(_NAMES, _NAMES, st.integers(80, 82)), st.integers(START_MS, START_MS + 60 * MINUTE_MS), max_size=8),
    st.lists(st.builds(Change, st.integers(START_MS, START_MS + 60 * MINUTE_MS), _NAMES, st.just("revision 7")), max_size=3),
    st.dictionaries(_NAMES, st.sets(_NAMES), max_size=3),
)


@given(_SEEN, _KNOWN, st.integers())
def test_each_violation_is_in_one_incident_whatever_the_order(
    seen: list[tuple[str, str, int, int, bool]], known: Surroundings, seed: int
) -> None:
    violations = [
        violation(number, source, destination, port, START_MS + minutes * MINUTE_MS, denied=denied)
        for number, (source, destination, port, minutes, denied) in enumerate(seen)
    ]
    found = group(violations, known)
    assert sum(one.count for one in found) == len(violations)
    assert all(len(one.sources) <= MAX_NAMES and one.sources and one.places for one in found)
    random.Random(seed).shuffle(violations)
    assert group(violations, known) == found
