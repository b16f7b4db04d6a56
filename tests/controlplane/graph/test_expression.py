"""What people write to find and hide parts of the map."""

from __future__ import annotations

import fnmatch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.expression import MAX_LENGTH, BadExpression, Expression, read_expression
from controlplane.graph.links import Link, State
from controlplane.graph.render.picture import Node

CART = Node("shop/cart", "shop", "service")
LINK = Link("shop/web", "shop/cart", State.DENIED, ("80 http", "7070 grpc"), 2, 3, 1)


def read(text: str) -> Expression:
    found = read_expression(text)
    assert isinstance(found, Expression)
    return found


@pytest.mark.parametrize("text", ["cart", "shop/*", "*art", "namespace:shop", "kind:service", "mode:audit", "nobody shop/c*t", "*"])
def test_a_name_is_meant(text: str) -> None:
    assert read(text).matches_node(CART, "audit")


@pytest.mark.parametrize("text", ["", "pay", "shop/p*", "namespace:sho", "kind:external", "mode:learn", "state:denied", "cart*x"])
def test_a_name_is_not_meant(text: str) -> None:
    assert not read(text).matches_node(CART, "audit")


@pytest.mark.parametrize(
    ("text", "is_meant"), [("state:denied", True), ("port:7070", True), ("protocol:grpc", True), ("port:70", False)]
)
def test_links_are_meant_by_what_they_are(text: str, is_meant: bool) -> None:
    assert read(text).matches_link(LINK) is is_meant


def test_a_caller_without_identity_is_a_name() -> None:
    assert read("ip:10.0.0.1").matches_node(Node("ip:10.0.0.1", "ip", "address"), "")


@pytest.mark.parametrize(
    ("text", "part"),
    [("colour:red", "is no field"), ("state:fine", "no state is called so"), ("port:", "no port"), ("x " * 21, "20 words"),
     ("x" * (MAX_LENGTH + 1), "characters")],
)  # fmt: skip
def test_what_cannot_be_read_says_what_to_do(text: str, part: str) -> None:
    found = read_expression(text)
    assert isinstance(found, BadExpression)
    assert part in found.text
    assert found.remedy


@given(st.text("ab*", max_size=8), st.text("ab", max_size=8))
def test_stars_stand_for_any_text(wanted: str, name: str) -> None:
    if "*" in wanted:
        assert read(wanted).matches_node(Node(name, "", "service"), "") == fnmatch.fnmatchcase(name, wanted)


@given(st.text(max_size=40))
def test_any_text_is_an_expression_or_is_refused(text: str) -> None:
    found = read_expression(text)
    if isinstance(found, Expression):
        found.matches_node(CART, "learn")
        found.matches_link(LINK)
