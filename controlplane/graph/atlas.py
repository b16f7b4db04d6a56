"""One reader's view of the map: found and hidden parts, the surroundings of a name, namespaces name by name or as one. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass, field

import networkx as nx

from controlplane.graph.expression import Expression
from controlplane.graph.links import Link, Pair, joined
from controlplane.graph.render.picture import READABLE_NODES, Node
from controlplane.policy.rules import Mode

#: Beyond this many names and links, the largest namespaces are shown as one name each unless the reader says which to open.
MAX_LINKS = 3_000
MAX_NODES = 300


@dataclass(frozen=True, slots=True)
class View:
    """What a reader asks for. ``opened`` are the namespaces to show name by name; ``None`` leaves that to the size of the map."""

    find: Expression = field(default_factory=Expression)
    hide: Expression = field(default_factory=Expression)
    focus: str = ""
    hops: int = 1
    opened: frozenset[str] | None = None


@dataclass(frozen=True, slots=True)
class Namespace:
    """A namespace that the view could open or close, and how many names it has."""

    name: str
    size: int
    is_open: bool


@dataclass(frozen=True, slots=True)
class Atlas:
    """The names and links of a view, in a stable order; ``found`` are the names and pairs that were sought."""

    nodes: tuple[Node, ...]
    links: tuple[Link, ...]
    namespaces: tuple[Namespace, ...]
    found_nodes: frozenset[str]
    found_links: frozenset[Pair]


def look(nodes: Iterable[Node], links: Iterable[Link], modes: Mapping[str, Mode], view: View) -> Atlas:
    """One view of the map. ``modes`` are those of services by name."""
    kept = {node.name: node for node in nodes if not view.hide.matches_node(node, modes.get(node.name, ""))}
    there = [link for link in links if link.source in kept and link.destination in kept and not view.hide.matches_link(link)]
    if view.focus:
        near = _around(there, view.focus, view.hops)
        kept = {name: node for name, node in kept.items() if name in near}
        there = [link for link in there if link.source in near and link.destination in near]
    sizes: dict[str, int] = {}
    for node in kept.values():
        sizes[node.namespace] = sizes.get(node.namespace, 0) + 1
    closed = sizes.keys() - view.opened if view.opened is not None else _too_many(sizes, len(there))
    hits = {name for name, node in kept.items() if view.find.matches_node(node, modes.get(name, ""))}
    hit_links = {link.pair for link in there if view.find.matches_link(link)}
    closed = {name for name in closed if sizes[name] > 1}
    stands_for = {node.name: f"{node.namespace}/" for node in kept.values() if node.namespace in closed}
    shown = {node for name, node in kept.items() if name not in stands_for}
    shown |= {Node(f"{name}/", name, "namespace", sizes[name]) for name in closed}
    together: dict[Pair, list[Link]] = {}
    for link in there:
        pair = stands_for.get(link.source, link.source), stands_for.get(link.destination, link.destination)
        if pair[0] != pair[1] or pair == link.pair:
            together.setdefault(pair, []).append(link)
    return Atlas(
        tuple(sorted(shown)),
        tuple(joined(pair, several) for pair, several in sorted(together.items())),
        tuple(Namespace(name, size, name not in closed) for name, size in sorted(sizes.items()) if name and size > 1),
        frozenset(stands_for.get(name, name) for name in hits),
        frozenset(pair for pair, several in together.items() if any(link.pair in hit_links for link in several)),
    )


def _too_many(sizes: Mapping[str, int], links: int) -> Collection[str]:
    """The namespaces to close so that the map stays readable: the largest first."""
    total = sum(sizes.values())
    if total <= MAX_NODES and links <= MAX_LINKS:
        return ()
    closed: set[str] = set()
    for name, size in sorted(sizes.items(), key=lambda item: (-item[1], item[0])):
        if total <= READABLE_NODES or size == 1:
            break
        closed.add(name)
        total -= size - 1
    return closed


def _around(links: Iterable[Link], focus: str, hops: int) -> Collection[str]:
    """The names within so many calls of one, in either direction; itself alone where it has none."""
    graph: nx.Graph[str] = nx.Graph()
    graph.add_node(focus)
    graph.add_edges_from(link.pair for link in links)
    return nx.single_source_shortest_path_length(graph, focus, cutoff=hops).keys()
