"""What a drawing shows: names and lines between them, in one order, and small enough to read. Never says how they are drawn."""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

from controlplane.graph.chart import ChartedEdge
from controlplane.graph.images import ImageUse, joined
from controlplane.topology.model import Kind, Topology, parse_service_name

#: A drawing with more names than this is for nobody.
READABLE_NODES = 150
_NO_IMAGES: Mapping[tuple[str, str], Collection[ImageUse]] = MappingProxyType({})


class State(enum.StrEnum):
    """What is known of a line's edges."""

    APPROVED = "approved"  # all of them
    PARTLY = "partly"  # some are approved, some only seen
    UNAPPROVED = "unapproved"  # seen, none of them approved
    UNUSED = "unused"  # approved, none of them seen


@dataclass(frozen=True, slots=True, order=True)
class Node:
    """A workload, service, host or address; or a whole namespace with ``members`` of them."""

    name: str
    namespace: str
    kind: str
    members: int = 1

    @property
    def label(self) -> str:
        """The name without its namespace."""
        if self.members > 1:
            return f"{self.namespace} ({self.members})"
        return self.name.removeprefix(f"{self.namespace}/")


@dataclass(frozen=True, slots=True, order=True)
class Line:
    """All edges from one node to another. ``ports`` are as ``80 http``; ``count`` sums their requests or connections.

    ``images`` of the source used them, where known.
    """

    source: str
    destination: str
    state: State
    ports: tuple[str, ...]
    edges: int
    count: int
    images: tuple[ImageUse, ...] = ()

    @property
    def label(self) -> str:
        """What is called, in short."""
        shown = ", ".join(self.ports[:3])
        return f"{shown}, ..." if len(self.ports) > 3 else shown


@dataclass(frozen=True, slots=True)
class Picture:
    """Nodes and lines, each ordered by name."""

    nodes: tuple[Node, ...]
    lines: tuple[Line, ...]


def picture_of(
    edges: Iterable[ChartedEdge], topology: Topology, images: Mapping[tuple[str, str], Collection[ImageUse]] = _NO_IMAGES
) -> Picture:
    """The picture of a map. ``images`` are those that used something of a source and a destination."""
    between: dict[tuple[str, str], list[ChartedEdge]] = {}
    for charted in edges:
        between.setdefault((charted.edge.source, charted.edge.destination), []).append(charted)
    names = {name for pair in between for name in pair}
    kinds = kinds_of(topology)
    nodes = tuple(sorted(node_of(name, kinds) for name in names))
    return Picture(nodes, tuple(sorted(_line(*pair, members, images.get(pair, ())) for pair, members in between.items())))


def kinds_of(topology: Topology) -> Mapping[str, Kind]:
    """What kind of thing each service is."""
    return {str(name): service.kind for name, service in topology.services.items()}


def node_of(name: str, kinds: Mapping[str, Kind]) -> Node:
    """The node of an edge's end."""
    if name.startswith("ip:"):
        return Node(name, "ip", "address")
    try:
        namespace = parse_service_name(name).namespace
    except ValueError:
        return Node(name, "", "unknown")
    return Node(name, namespace, str(kinds.get(name, Kind.EXTERNAL if namespace == "external" else Kind.SERVICE)))


def _line(source: str, destination: str, members: list[ChartedEdge], images: Collection[ImageUse]) -> Line:
    ports = tuple(sorted({f"{m.edge.port} {m.edge.protocol}".strip() for m in members}))
    count = sum(m.edge.count for m in members)
    return Line(source, destination, _state(members), ports, len(members), count, joined(images))


def _state(members: Iterable[ChartedEdge]) -> State:
    approved = {m.approved for m in members}
    if approved == {True, False}:
        return State.PARTLY
    if approved == {False}:
        return State.UNAPPROVED
    return State.APPROVED if any(m.learned for m in members) else State.UNUSED


def collapse(picture: Picture, namespaces: Collection[str]) -> Picture:
    """The picture with each of these namespaces as one node; lines within it are left out."""
    sizes: dict[str, int] = {}
    for node in picture.nodes:
        sizes[node.namespace] = sizes.get(node.namespace, 0) + node.members
    stands_for = {node.name: f"{node.namespace}/" for node in picture.nodes if node.namespace in namespaces}
    nodes = {Node(f"{name}/", name, "namespace", sizes[name]) for name in namespaces if name in sizes}
    nodes |= {node for node in picture.nodes if node.name not in stands_for}
    joined: dict[tuple[str, str], list[Line]] = {}
    for line in picture.lines:
        source, destination = (stands_for.get(end, end) for end in (line.source, line.destination))
        if source != destination or line.source == line.destination == source:
            joined.setdefault((source, destination), []).append(line)
    return Picture(tuple(sorted(nodes)), tuple(sorted(_joined(*pair, lines) for pair, lines in joined.items())))


def _joined(source: str, destination: str, lines: list[Line]) -> Line:
    states = {line.state for line in lines}
    state = states.pop() if len(states) == 1 else State.APPROVED if states == {State.APPROVED, State.UNUSED} else State.PARTLY
    ports = tuple(sorted({port for line in lines for port in line.ports}))
    images = joined(use for line in lines for use in line.images)
    return Line(source, destination, state, ports, sum(line.edges for line in lines), sum(line.count for line in lines), images)


def fit(picture: Picture, max_nodes: int = READABLE_NODES) -> Picture:
    """The picture with as many namespaces collapsed, the largest first, as it takes to have no more nodes than this."""
    sizes: dict[str, int] = {}
    for node in picture.nodes:
        sizes[node.namespace] = sizes.get(node.namespace, 0) + 1
    excess = len(picture.nodes) - max_nodes
    chosen: list[str] = []
    for namespace, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        if excess <= 0 or size == 1:
            break
        chosen.append(namespace)
        excess -= size - 1
    return collapse(picture, chosen) if chosen else picture
