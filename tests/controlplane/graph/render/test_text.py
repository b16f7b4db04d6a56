"""Text formats: read back by other programs where there are some, and nothing gets out of its quotes."""

from __future__ import annotations

import json
import re

import networkx as nx
import pytest
from hypothesis import given

from controlplane.graph.render.picture import Picture
from controlplane.graph.render.text import printable, to_dot, to_graphml, to_json, to_mermaid
from tests.controlplane.graph.render.pictures import ANY_PICTURES, EVERYTHING_NASTY, picture

SMALL = picture([("shop/front", "shop/cart"), ("shop/cart", "shop/db")])

_STRING = r'"(?:[^"\\\n]|\\.)*"'
DOT_ROW = re.compile(
    rf"digraph picket \{{|  rankdir=LR;|  node \[shape=box\];|  subgraph {_STRING} \{{|    label={_STRING};"
    rf"|    n\d+ \[label={_STRING}, tooltip={_STRING}, shape=\w+\];|  n\d+ -> n\d+ \[label={_STRING}, style=\w+\];|  ?\}}|\}}|"
)
_LABEL = r'"(?:[A-Za-z0-9 ./:_-]|#\d+;)*"'
MERMAID_ROW = re.compile(
    rf"flowchart LR|  subgraph g\d+\[{_LABEL}\]|    n\d+(\[{_LABEL}\]|\(\[{_LABEL}\]\)|\[\({_LABEL}\)\])|  end"
    rf"|  n\d+ \S+\|{_LABEL}\| n\d+|"
)


@given(ANY_PICTURES)
def test_dot_is_nothing_but_rows_of_quoted_text(picture: Picture) -> None:
    for row in to_dot(picture).split("\n"):
        assert DOT_ROW.fullmatch(row), row


@given(ANY_PICTURES)
def test_mermaid_is_nothing_but_rows_of_plain_characters(picture: Picture) -> None:
    for row in to_mermaid(picture).split("\n"):
        assert MERMAID_ROW.fullmatch(row), row


@given(ANY_PICTURES)
def test_graphml_and_json_hold_every_name_and_line(picture: Picture) -> None:
    graph = nx.parse_graphml(to_graphml(picture))
    names = [printable(node.name) for node in picture.nodes]
    assert [data.get("name", "") for _, data in graph.nodes(data=True)] == names
    document = json.loads(to_json(picture))
    assert [node["name"] for node in document["nodes"]] == names
    assert [(edge["source"], edge["destination"]) for edge in document["edges"]] == [
        (printable(line.source), printable(line.destination)) for line in picture.lines
    ]
    assert graph.number_of_edges() == len(picture.lines)


@pytest.mark.parametrize("write", [to_dot, to_mermaid, to_graphml, to_json])
def test_the_same_picture_gives_the_same_text_and_nasty_names_stay_names(write: object) -> None:
    assert callable(write)
    assert write(EVERYTHING_NASTY) == write(EVERYTHING_NASTY)
    assert not re.search(r"[\x00-\x09\x0b-\x1f]", write(EVERYTHING_NASTY))


def test_dot_and_mermaid_as_people_read_them() -> None:
    assert to_dot(SMALL).splitlines() == [
        "digraph picket {",
        "  rankdir=LR;",
        "  node [shape=box];",
        '  subgraph "cluster_shop" {',
        '    label="shop";',
        '    n0 [label="cart", tooltip="shop/cart", shape=box];',
        '    n1 [label="db", tooltip="shop/db", shape=box];',
        '    n2 [label="front", tooltip="shop/front", shape=box];',
        "  }",
        '  n0 -> n1 [label="80 http", style=solid];',
        '  n2 -> n0 [label="80 http", style=solid];',
        "}",
    ]
    assert to_mermaid(SMALL).splitlines() == [
        "flowchart LR",
        '  subgraph g0["shop"]',
        '    n0["cart"]',
        '    n1["db"]',
        '    n2["front"]',
        "  end",
        '  n0 -->|"80 http"| n1',
        '  n2 -->|"80 http"| n0',
    ]
