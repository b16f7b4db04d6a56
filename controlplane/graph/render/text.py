"""A picture as DOT, Mermaid, GraphML and JSON. Whatever a name holds, it cannot leave its place in the text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import groupby

import msgspec
import networkx as nx

from controlplane.graph.render.picture import Node, Picture, State

_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\ud800-\udfff\ufffe\uffff]")
_PLAIN = re.compile(r"[^A-Za-z0-9 ./:_-]")
_DOT_SHAPES = {"datastore": "cylinder", "external": "cloud", "gateway": "house", "address": "plaintext", "namespace": "folder"}
_DOT_STYLES = {State.APPROVED: "solid", State.PARTLY: "bold", State.UNAPPROVED: "dashed", State.UNUSED: "dotted"}
_MERMAID_ARROWS = {State.APPROVED: "-->", State.PARTLY: "==>", State.UNAPPROVED: "-.->", State.UNUSED: "-.->"}


def printable(text: str) -> str:
    """The text without what no text format holds: control characters and halves of characters."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


def to_dot(picture: Picture) -> str:
    """For Graphviz.

    Source: https://graphviz.org/doc/info/lang.html
    """
    names = _numbered(picture)
    rows = ["digraph picket {", "  rankdir=LR;", "  node [shape=box];"]
    for namespace, nodes in _grouped(picture):
        rows += [f"  subgraph {_dot(f'cluster_{namespace}')} {{", f"    label={_dot(namespace)};"]
        rows += [f"    {names[node.name]} [{_dot_node(node)}];" for node in nodes]
        rows.append("  }")
    for line in picture.lines:
        ends = f"{names[line.source]} -> {names[line.destination]}"
        rows.append(f"  {ends} [label={_dot(line.label)}, style={_DOT_STYLES[line.state]}];")
    return "\n".join([*rows, "}", ""])


def _numbered(picture: Picture) -> dict[str, str]:
    """A plain identifier for each name."""
    return {node.name: f"n{number}" for number, node in enumerate(picture.nodes)}


def _grouped(picture: Picture) -> Iterator[tuple[str, list[Node]]]:
    """The nodes of each namespace."""
    for namespace, nodes in groupby(sorted(picture.nodes, key=lambda node: (node.namespace, node)), lambda node: node.namespace):
        yield namespace, list(nodes)


def _dot_node(node: Node) -> str:
    return f"label={_dot(node.label)}, tooltip={_dot(node.name)}, shape={_DOT_SHAPES.get(node.kind, 'box')}"


def _dot(text: str) -> str:
    quoted = printable(text).replace("\\", "\\\\").replace('"', '\\"')
    return f'"{quoted}"'


def to_mermaid(picture: Picture) -> str:
    """For Markdown pages.

    Source: https://mermaid.js.org/syntax/flowchart.html
    """
    names = _numbered(picture)
    rows = ["flowchart LR"]
    for number, (namespace, nodes) in enumerate(_grouped(picture)):
        rows.append(f"  subgraph g{number}[{_mermaid(namespace)}]")
        rows += [f"    {names[node.name]}{_mermaid_shape(node)}" for node in nodes]
        rows.append("  end")
    for line in picture.lines:
        arrow = f"{_MERMAID_ARROWS[line.state]}|{_mermaid(line.label)}|"
        rows.append(f"  {names[line.source]} {arrow} {names[line.destination]}")
    return "\n".join([*rows, ""])


def _mermaid(text: str) -> str:
    """Everything that could mean something as the number of its character."""
    return f'"{_PLAIN.sub(lambda found: f"#{ord(found[0])};", printable(text)) or " "}"'


def _mermaid_shape(node: Node) -> str:
    label = _mermaid(node.label)
    if node.kind == "datastore":
        return f"[({label})]"
    return f"([{label}])" if node.kind in {"external", "address"} else f"[{label}]"


def to_graphml(picture: Picture) -> str:
    """For yEd, Gephi and networkx.

    Source: http://graphml.graphdrawing.org/specification.html
    """
    names = _numbered(picture)
    graph: nx.DiGraph[str] = nx.DiGraph()
    for node in picture.nodes:
        texts = {"name": node.name, "label": node.label, "namespace": node.namespace, "kind": node.kind}
        graph.add_node(names[node.name], members=node.members, **{key: printable(text) for key, text in texts.items()})
    for line in picture.lines:
        ends = names[line.source], names[line.destination]
        ports = printable(", ".join(line.ports))
        graph.add_edge(*ends, state=str(line.state), ports=ports, edges=line.edges, count=line.count)
    return "\n".join([*nx.generate_graphml(graph), ""])


class _Node(msgspec.Struct):
    name: str
    namespace: str
    kind: str
    members: int


class _Image(msgspec.Struct):
    digest: str
    first_seen_ms: int


class _Edge(msgspec.Struct):
    source: str
    destination: str
    state: str
    ports: list[str]
    edges: int
    count: int
    images: list[_Image]


class _Graph(msgspec.Struct):
    nodes: list[_Node]
    edges: list[_Edge]


def to_json(picture: Picture) -> str:
    """For programs: an object with ``nodes`` and ``edges``, whose keys are the fields of `Node` and `Line`."""
    nodes = [_Node(printable(node.name), printable(node.namespace), node.kind, node.members) for node in picture.nodes]
    edges = [
        _Edge(
            printable(line.source), printable(line.destination), str(line.state), [printable(port) for port in line.ports],
            line.edges, line.count, [_Image(use.digest, use.first_seen_ms) for use in line.images],
        )
        for line in picture.lines
    ]  # fmt: skip
    return msgspec.json.format(msgspec.json.encode(_Graph(nodes, edges)), indent=2).decode() + "\n"
