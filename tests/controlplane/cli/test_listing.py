"""Listings: columns where they fit, details below where they do not, and nothing cut."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st
from rich.console import Console

from controlplane.cli.listing import Listing
from controlplane.cli.output import clean


def shown(width: int, *rows: tuple[object, ...], titles: tuple[str, ...] = ("who", "~why", ">count")) -> list[str]:
    """The lines of a listing in a window of some width."""
    listing = Listing(*titles)
    for row in rows:
        listing.add(*row)
    text = io.StringIO()
    listing.show(Console(file=text, width=width, color_system=None, markup=False, highlight=False))
    return [line.rstrip() for line in text.getvalue().splitlines()]


def test_columns_stand_where_they_fit() -> None:
    assert shown(80, ("cart", "because", 7), ("frontend", "", 12)) == [
        "who       why      count",
        "cart      because      7",
        "frontend              12",
    ]


def test_details_go_below_where_they_do_not() -> None:
    """Only where there are any."""
    why = "because of something that is long"
    assert shown(40, ("cart", why, 7), ("frontend", "", 12)) == [
        "who                                count",
        "cart                                   7",
        why,
        "frontend                              12",
    ]


def test_what_does_not_even_fit_below_folds() -> None:
    lines = shown(33, ("cart", "/a/path/" + "x" * 40, 7))
    assert lines[0] == "who                         count"
    assert "".join(lines[2:]) == "/a/path/" + "x" * 40
    assert max(map(len, lines)) == 33


def test_names_do_not_fold() -> None:
    """In a window that is even narrower the terminal breaks whole lines: better than to lose a name's end."""
    name = "a-very-long-name-of-a-service"
    assert shown(10, ("x", "y", 1), (name, "z", 1))[3] == f"{name}      1"


NAMES = st.text(st.characters(exclude_categories=("C", "Z", "M")), min_size=1, max_size=30)


@given(rows=st.lists(st.tuples(NAMES, NAMES, st.integers(0, 10**9)), min_size=1, max_size=4), width=st.integers(20, 120))
def test_no_width_loses_anything(rows: list[tuple[str, str, int]], width: int) -> None:
    """Folded details stand on lines of their own, one after the other, so that they join to what they were."""
    text = "".join(shown(width, *rows)).replace(" ", "")
    for who, why, count in rows:
        assert clean(who) in text
        assert clean(why) in text
        assert str(count) in text
