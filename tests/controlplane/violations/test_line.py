"""The query line: what it says, what it refuses and where, and that what is written reads back."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.violations.line import MAX_LENGTH, MAX_TERMS, MAX_VALUES, BadQuery, parse, write
from controlplane.violations.query import ENDS, EXACT, Field, Query, Term

NOW_MS = 1_780_000_000_000


def read(line: str) -> Query:
    found = parse(line, NOW_MS)
    assert isinstance(found, Query), found
    return found


def refused(line: str) -> BadQuery:
    found = parse(line, NOW_MS)
    assert isinstance(found, BadQuery), found
    return found


def test_a_line_is_terms_and_a_span() -> None:
    found = read('from:shop/cart to:payments/* verdict:denied since:24h path:/x -method:GET,HEAD "free text" word')
    assert found.terms == (
        Term(Field.SOURCE, ("shop/cart",)),
        Term(Field.DESTINATION, ("payments/*",)),
        Term(Field.VERDICT, ("denied",)),
        Term(Field.PATH, ("/x",)),
        Term(Field.METHOD, ("GET", "HEAD"), excludes=True),
        Term(Field.TEXT, ("free text",)),
        Term(Field.TEXT, ("word",)),
    )
    assert (found.since_ms, found.until_ms) == (NOW_MS - 86_400_000, 0)


@pytest.mark.parametrize(
    ("line", "term"),
    [
        ("deny:shop/cart@r7", Term(Field.DENY_ID, ("shop/cart@r7",))),
        ("revision:r07", Term(Field.REVISION, ("7",))),
        ("FROM:ip:10.0.0.1", Term(Field.SOURCE, ("ip:10.0.0.1",))),
        ('path:"/a b,c\\"\\\\"', Term(Field.PATH, ('/a b,c"\\',))),
        ('"to:x"', Term(Field.TEXT, ("to:x",))),
        ("-10.0.0.1", Term(Field.TEXT, ("10.0.0.1",), excludes=True)),
    ],
)
def test_a_term_reads(line: str, term: Term) -> None:
    assert read(f"  {line} ").terms == (term,)


def test_times_are_spans_back_or_moments_in_utc() -> None:
    assert read("since:2026-05-01").since_ms == 1_777_593_600_000
    assert read("until:2026-05-01T01:00+01:00").until_ms == 1_777_593_600_000
    assert read("since:999999w").since_ms == 1


@pytest.mark.parametrize(
    ("line", "at", "what"),
    [
        ("colour:red", 1, "there is no field colour"),
        ("from:a http://x", 8, "there is no field http"),
        ("port:443,x", 10, "x is no port"),
        ("port:0", 6, "0 is no port"),
        ("verdict:allowed", 9, "allowed is no verdict"),
        ("from:", 6, "from: has no value"),
        ("from:a,", 8, "from: has no value"),
        ('path:"/a', 6, "a quote is not closed"),
        ('path:""', 6, "a value is empty"),
        ('path:/a"b"', 8, "a quote stands within a word"),
        ('"a\\n"', 3, "a backslash"),
        ("since:yesterday", 7, "yesterday is no time"),
        ("since:1960-01-01", 7, "before 1970"),
        ("since:1h since:2h", 10, "since is there once"),
        ("-since:1h", 1, "since is there once"),
        ("since:1h until:2h", 1, "until is not after since"),
        ("a\x00b", 1, "cannot be printed"),
        ("-", 2, "a value is missing"),
        ("x" * (MAX_LENGTH + 1), MAX_LENGTH + 1, "longer than"),
        (" ".join("x" * (MAX_TERMS + 1)), 2 * MAX_TERMS + 1, "more than"),
        (",".join("x" * (MAX_VALUES + 1)), 2 * MAX_VALUES + 1, "more than"),
        ("x" * 301, 1, "longer than 300"),
    ],
)
def test_what_does_not_read_is_told_with_its_place_and_a_remedy(line: str, at: int, what: str) -> None:
    found = refused(line)
    assert (found.at, what in found.what, bool(found.remedy)) == (at, True, True), found


@given(st.text(max_size=120) | st.text('fromtsince:,"\\-* 1h/', max_size=60))
def test_any_text_is_a_query_or_a_place_in_it(line: str) -> None:
    found = parse(line, NOW_MS)
    assert isinstance(found, Query) or 1 <= found.at <= len(line) + 1


_TEXTS = st.text(st.characters(codec="utf-8", exclude_categories=["C", "Z"]) | st.just(" "), min_size=1, max_size=20).filter(
    str.isprintable
)
_PLAIN_FIELDS = [field for field in Field if field not in EXACT | {Field.DENY_ID}]
_TERMS = st.builds(
    lambda field, values, excludes: Term(field, tuple(values), excludes),
    st.sampled_from(_PLAIN_FIELDS), st.lists(_TEXTS, min_size=1, max_size=3), st.booleans(),
) | st.builds(lambda port, excludes: Term(Field.PORT, (str(port),), excludes), st.integers(1, 65_535), st.booleans())  # fmt: skip


@given(st.builds(Query, st.lists(_TERMS, max_size=4).map(tuple), st.integers(0, NOW_MS), st.just(0)))
def test_what_is_written_reads_back(query: Query) -> None:
    line = write(query)
    if len(line) <= MAX_LENGTH:
        assert read(line) == query


def test_ends_get_their_namespace_and_patterns_stay() -> None:
    found = read("from:cart to:*cart,pay path:cart").with_ends(lambda name: f"shop/{name}")
    assert [term.values for term in found.terms] == [("shop/cart",), ("*cart", "shop/pay"), ("cart",)]
    assert {term.field for term in found.terms[:2]} < ENDS
