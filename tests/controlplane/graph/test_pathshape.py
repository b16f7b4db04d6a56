"""Shapes of paths, and which paths have none."""

from __future__ import annotations

import pytest
from hypothesis import given

from controlplane.graph.pathshape import MAX_CHARACTERS, MAX_DEPTH, Shape, shape_from, shape_of
from controlplane.policy.evaluate import http_matches
from controlplane.policy.rules import HttpMatch
from tests.controlplane.graph.paths import HOSTILE, PATHS


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/", Shape((), slash=True)),
        ("/cart", Shape(("cart",))),
        ("/cart/", Shape(("cart",), slash=True)),
        ("/users/7/orders", Shape(("users", "{id}", "orders"))),
        ("/a" * (MAX_DEPTH + 1), Shape(("a",) * MAX_DEPTH, tail=True)),
        ("/a" * MAX_DEPTH + "/", Shape(("a",) * MAX_DEPTH, slash=True)),
    ],
)
def test_shapes(path: str, expected: Shape) -> None:
    found = shape_of(path)
    assert found is not None
    assert found[0] == expected


@pytest.mark.parametrize(
    "path",
    [
        *("", "x", "/a?b=1", "/a b", "/é", "/" + "x" * 1024),
        *("/a/../b", "/a/%2e%2e/b", "/a/..;x/b", "/a%2Fb", "/a\\b", "//a", "/a//b"),
        *("/*", "/a*b", "/{id}", "/{"),
    ],
)
def test_no_pattern_may_stand_for_what_reads_as_another_path_or_as_a_pattern(path: str) -> None:
    assert shape_of(path) is None


@given(PATHS | HOSTILE)
def test_a_shape_is_a_rule_that_holds_its_path_and_can_be_read_back(path: str) -> None:
    found = shape_of(path)
    if found is None:
        return
    shaped, segments = found
    assert http_matches(HttpMatch("GET", shaped.text), "GET", path)
    assert len(shaped.tokens) == len(segments) <= MAX_DEPTH
    assert len(shaped.text) <= 1024
    assert shape_from(shaped.text) == shaped


def test_a_long_path_is_cut_between_segments() -> None:
    found = shape_of("/" + "/".join(["word"] * 5 + ["x" * 300] * 3))
    assert found is not None
    assert found[0].text == "/word/word/word/word/word/{token}/{token}/{token}"
    wordy = shape_of("/" + "/".join(["y" * 60] * 16))
    assert wordy is not None
    assert wordy[0].tail
    assert len(wordy[0].text) <= MAX_CHARACTERS + 2
