"""Paths per method at one port."""

from __future__ import annotations

import random

from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.pathtree import Budget
from controlplane.graph.portpaths import MAX_METHODS, PortPaths
from tests.controlplane.graph.paths import HOSTILE, PATHS

METHODS = st.sampled_from(["GET", "POST", "DELETE"]) | st.integers(0, 40).map("M{}".format)
REQUESTS = st.lists(st.tuples(METHODS, PATHS | HOSTILE), max_size=40)


def port(requests: list[tuple[str, str]]) -> PortPaths:
    seen = PortPaths(Budget(3, 4))
    for method, path in requests:
        seen.observe(method, path)
    return seen


@given(REQUESTS, st.randoms(use_true_random=False), st.integers(0, 60))
def test_order_repetition_and_merging_change_nothing(requests: list[tuple[str, str]], chance: random.Random, cut: int) -> None:
    again = requests + requests
    chance.shuffle(again)
    merged = port(again[:cut])
    merged.merge(port(again[cut:]))
    assert merged == port(requests) == port(again)


def test_made_up_methods_do_not_crowd_out_usual_ones_and_are_said() -> None:
    seen = port([(f"A{number}", "/") for number in range(100)] + [("PATCH", "/cart")])
    assert len(seen.methods) == MAX_METHODS
    assert seen.has_more_methods
    assert [template.path for template in seen.mined("PATCH").templates] == ["/cart"]


def test_methods_are_mined_apart() -> None:
    seen = port([("GET", "/users/7"), ("POST", "/users")])
    assert seen.methods == ("GET", "POST")
    assert [t.path for t in seen.mined("GET").templates] == ["/users/{id}"]
    assert seen.mined("DELETE").templates == ()
    assert not seen.has_more_methods


def test_paths_that_no_pattern_may_stand_for_are_set_aside() -> None:
    seen = port([("GET", "/a/../b"), ("GET", "/ok"), ("GET", "/group%2Fproject")])
    assert seen.aside("GET").examples == ("/a/../b", "/group%2Fproject")
    assert [t.path for t in seen.mined("GET").templates] == ["/ok"]
    assert seen.aside("POST").count == 0
