"""The owners file: the last line that fits counts, teams are opened, and whatever is wrong is told with its line."""

from __future__ import annotations

from fnmatch import fnmatchcase
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.policy import owners
from controlplane.policy.owners import MAX_BYTES, MAX_LINES, Owners, OwnersError, parse_owners, read_owners

FILE = """
# the shop
@shop-team: alice bob   # both
@ops: carol

*              @ops
shop/*         @shop-team carol alice
shop/payments* dora
sandbox/*      # nobody
"""


@pytest.mark.parametrize(
    ("service", "owners"),
    [
        ("ops/redis", ("carol",)),
        ("shop/cart", ("alice", "bob", "carol")),
        ("shop/payments", ("dora",)),
        ("shop/payments-db", ("dora",)),
        ("sandbox/any", ()),
        ("external/api.example.com", ("carol",)),
    ],
)
def test_the_last_line_that_fits_counts(service: str, owners: tuple[str, ...]) -> None:
    assert parse_owners(FILE).of(service) == owners


def test_the_example_of_its_description_reads() -> None:
    assert owners.__doc__ is not None
    example = owners.__doc__.split("\n\n")[1]
    assert parse_owners(example).of("shop/cart") == ("alice", "bob")
    assert parse_owners(example).of("ops/redis") == ("carol", "erin")


def test_without_lines_nobody_has_to_agree() -> None:
    assert parse_owners("# nothing\n\n") == Owners()
    assert Owners().of("shop/cart") == ()


def test_each_service_is_of_one_line() -> None:
    found = parse_owners(FILE).assigned(["shop/cart", "shop/payments", "ops/redis"])
    assert found == {
        6: ("ops/redis",),
        7: ("shop/cart",),
        8: ("shop/payments",),
    }


_PATTERNS = st.sampled_from(["*", "a/*", "*/b", "a/b", "a/bc", "a/b*", "b/c", "*b/c"])


@given(st.lists(_PATTERNS, max_size=8), st.sampled_from(["a/b", "a/bc", "b/c", "ab/c", "c/d"]))
def test_names_and_patterns_stand_in_one_order(patterns: list[str], name: str) -> None:
    """As if each line was looked at, from the last to the first."""
    found = parse_owners("\n".join(f"{pattern} u{number}" for number, pattern in enumerate(patterns)))
    fitting = [number for number, pattern in enumerate(patterns) if pattern == "*" or fnmatchcase(name, pattern)]
    assert found.of(name) == ((f"u{fitting[-1]}",) if fitting else ())


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("shop/* @nobody", "line 1: there is no team @nobody above this line"),
        ("\n@a alice", "line 2: '@a' begins no team: write @name: and its members"),
        ("@a:", "line 1: the team @a has no members"),
        ("@a: x\n@a: y", "line 2: there is a team @a already"),
        ("@a: @b", "line 1: @b is a team: a team's members are users"),
        ("shop alice", "line 1: 'shop' is neither * nor namespace/name"),
        ("a/b/c alice", "line 1: 'a/b/c' is neither * nor namespace/name"),
        ("shop/* Alice", "line 1: 'Alice' is no user's name"),
        ("shop/*a*b*c*d*e alice", "line 1: 'shop/*a*b*c*d*e' has more than 4 stars"),
        ("shop/* " + " ".join(f"u{number}" for number in range(201)), "line 1: more than 200 owners"),
        ("\n" * (MAX_LINES + 1), f"more than {MAX_LINES} lines"),
        ("x" * (MAX_BYTES + 1), f"more than {MAX_BYTES} bytes"),
    ],
)
def test_what_is_wrong_is_told_with_its_line(text: str, told: str) -> None:
    with pytest.raises(OwnersError) as error:
        parse_owners(text)
    assert str(error.value).startswith(told)


@given(text=st.text(alphabet=st.sampled_from("ab/@:*# \n-.A\x00é"), max_size=80))
def test_any_text_is_read_or_told(text: str) -> None:
    try:
        owners = parse_owners(text)
    except OwnersError:
        return
    assert all(isinstance(owner, str) for owner in owners.of("a/b"))


def test_a_file_that_cannot_be_read_is_told_by_its_name(tmp_path: Path) -> None:
    file = tmp_path / "OWNERS"
    with pytest.raises(OwnersError, match="OWNERS: cannot be read"):
        read_owners(file)
    file.write_bytes(b"\xff")
    with pytest.raises(OwnersError, match="OWNERS"):
        read_owners(file)
    file.write_text("shop/* alice\n")
    assert read_owners(file).of("shop/cart") == ("alice",)
