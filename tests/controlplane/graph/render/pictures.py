"""Pictures to draw, with names as people and attackers choose them."""

from __future__ import annotations

from itertools import pairwise

from hypothesis import strategies as st

from controlplane.graph.chart import ChartedEdge
from controlplane.graph.learn import GraphEdge
from controlplane.graph.render.picture import Line, Node, Picture, State
from controlplane.policy.rules import Mode

NASTY = [
    'shop/"]; evil [label="x', "shop/a\\", "shop/<script>alert(1)</script>", "shop/end", "shop/]]>", "shop/&amp;", "shop/--> x",
    "external/a|b", "shop/#quot;", "shop/`x`", "ip:::1", "shop/a\nb", "shop/\x00\x1b[31m", "shop/\ufffe", "shop/\ud800", "", "'",
]  # fmt: skip


def node(name: str) -> Node:
    return Node(name, name.partition("/")[0] if "/" in name else "", "service")


def picture(lines: list[tuple[str, str]], names: tuple[str, ...] = ()) -> Picture:
    known = {*names, *(end for line in lines for end in line)}
    drawn = {Line(*line, State.APPROVED, ("80 http",), 1, 1) for line in lines}
    return Picture(tuple(sorted(map(node, known))), tuple(sorted(drawn)))


def charted(
    source: str, destination: str, port: int = 80, count: int = 5, *, approved: bool = True, learned: bool = True
) -> ChartedEdge:
    return ChartedEdge(GraphEdge(source, destination, port, "http", (), count, 0, 0), approved, learned, Mode.LEARN)


NAMES = st.sampled_from([f"{space}/{letter}" for space in ("a", "b") for letter in "abcdef"])
ANY_NAMES = NAMES | st.sampled_from(NASTY) | st.text(max_size=6)
PICTURES = st.lists(st.tuples(NAMES, NAMES), max_size=25).map(picture)
ANY_PICTURES = st.lists(st.tuples(ANY_NAMES, ANY_NAMES), max_size=8).map(picture)
EVERYTHING_NASTY = picture(list(pairwise(NASTY)), tuple(NASTY))
