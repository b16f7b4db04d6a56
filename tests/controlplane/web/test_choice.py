"""Rows in an address."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.api.requests import MAX_ROWS
from controlplane.web.choice import MAX_TEXT, read_rows, write_rows


@given(st.frozensets(st.integers(1, 999_999), max_size=200))
def test_what_is_written_is_read(rows: frozenset[int]) -> None:
    assert read_rows([write_rows(rows)]) == rows
    assert read_rows(map(str, rows)) == rows


@given(st.lists(st.text("0123456789,- x\u0661", max_size=20), max_size=5))
def test_any_text_is_read_or_refused(texts: list[str]) -> None:
    rows = read_rows(texts)
    assert rows is None or all(0 < row <= 999_999 + MAX_ROWS for row in rows)


def test_the_shortest_text_is_taken() -> None:
    assert write_rows([7, 1, 2, 3, 4]) == "1-4,7"
    assert write_rows([]) == ""


def test_more_than_a_proposal_has_is_refused() -> None:
    assert read_rows([f"1-{MAX_ROWS + 1}"]) is None
    assert read_rows(["1," * MAX_TEXT]) is None
