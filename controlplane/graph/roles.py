"""Replicas, versions and canaries of one role as one row. For reading only: a row lists the edges that it stands for.

A role is a name without what tells variants apart (``cart-v1``, ``cart-v2``, ``cart-canary``, a bare ``cart``), within a namespace,
and each variant has to have mostly the neighbours that the others have: names alone do not make a role.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.graph.learn import GraphEdge
from controlplane.policy.diff import match_text
from controlplane.policy.rules import HttpMatch

#: What may stand behind a role's name: versions, release tracks, numbers of a set, and the two random parts of a pod's name.
_VARIANT = re.compile(
    r"(?<=[A-Za-z0-9])(?:[-_.]v[0-9]{1,4}(?:[-_.][0-9]{1,4}){0,2}"
    r"|[-_.](?:canary|baseline|stable|primary|secondary|preview|blue|green|[0-9]{1,4})"
    r"|-[bcdf-hj-np-tv-xz2456789]{8,10}-[bcdf-hj-np-tv-xz2456789]{5})\Z"
)
#: The share of its neighbours that a variant has in common with the others.
MIN_SHARED = 0.5

_Neighbour = tuple[str, str, int]


@dataclass(frozen=True, slots=True)
class Roles:
    """The role of each name that has variants; every other name is a role of its own."""

    variants: Mapping[str, tuple[str, ...]]
    _role_of: Mapping[str, str]

    def of(self, name: str) -> str:
        """The role of a workload, service or host."""
        return self._role_of.get(name, name)


@dataclass(frozen=True, slots=True)
class RoleRow:
    """Edges between two roles at one port and protocol, in a stable order; never empty."""

    source: str
    destination: str
    port: int
    protocol: str
    edges: tuple[GraphEdge, ...]

    @property
    def http(self) -> tuple[HttpMatch, ...]:
        """What any of them does; empty where one sends whatever it likes."""
        if any(not edge.http for edge in self.edges):
            return ()
        return tuple(sorted({match for edge in self.edges for match in edge.http}))

    @property
    def is_uniform(self) -> bool:
        """Whether each source calls each destination, all in the same way: the row then says all there is to say."""
        pairs = len({edge.source for edge in self.edges}) * len({edge.destination for edge in self.edges})
        return len(self.edges) == pairs and len({edge.http for edge in self.edges}) == 1

    @property
    def text(self) -> str:
        """The row as a line for people, with the edges below it where they differ."""
        asked = ", ".join(match_text(match) for match in self.http) or "anything"
        sources, destinations = ({getattr(edge, end) for edge in self.edges} for end in ("source", "destination"))
        line = f"{_named(self.source, sources)} -> {_named(self.destination, destinations)}:{self.port} {self.protocol}  {asked}"
        if self.is_uniform:
            return line
        return "\n".join([line, *(f"    {_edge_text(edge)}" for edge in self.edges)])


def roles_of(edges: Iterable[GraphEdge]) -> Roles:
    """Find the roles in a graph."""
    known = list(edges)
    groups: dict[str, set[str]] = {}
    for name in {end for edge in known for end in (edge.source, edge.destination)}:
        groups.setdefault(_stem(name), set()).add(name)
    groups = {stem: names for stem, names in groups.items() if len(names) > 1}
    role_of = {name: stem for stem, names in groups.items() for name in names}
    while True:
        neighbours = _neighbours(known, role_of)
        strangers = {name for names in _by_role(role_of).values() for name in _strangers(names, neighbours)}
        if not strangers:
            break
        role_of = {name: role for name, role in role_of.items() if name not in strangers}
    variants = {role: tuple(sorted(names)) for role, names in sorted(_by_role(role_of).items())}
    return Roles(variants, role_of)


def grouped(edges: Iterable[GraphEdge], roles: Roles) -> tuple[RoleRow, ...]:
    """The rows of some edges, ordered by destination and source; every edge is in exactly one."""
    rows: dict[tuple[str, str, int, str], list[GraphEdge]] = {}
    for edge in edges:
        key = (roles.of(edge.destination), roles.of(edge.source), edge.port, edge.protocol)
        rows.setdefault(key, []).append(edge)
    return tuple(
        RoleRow(source, destination, port, protocol, tuple(sorted(members, key=lambda e: (e.source, e.destination, e.http))))
        for (destination, source, port, protocol), members in sorted(rows.items())
    )


def _stem(name: str) -> str:
    """The name of the role that a name could be a variant of; addresses and hosts outside have none but their own."""
    namespace, slash, own = name.partition("/")
    if not slash or namespace == "external" or name.startswith("ip:"):
        return name
    while True:
        shorter = _VARIANT.sub("", own)
        if shorter == own or not shorter:
            return f"{namespace}/{own}"
        own = shorter


def _neighbours(edges: Sequence[GraphEdge], role_of: Mapping[str, str]) -> Mapping[str, set[_Neighbour]]:
    found: dict[str, set[_Neighbour]] = {}
    for edge in edges:
        source, destination = (role_of.get(end, end) for end in (edge.source, edge.destination))
        if edge.source in role_of:
            found.setdefault(edge.source, set()).add(("to", destination, edge.port))
        if edge.destination in role_of:
            found.setdefault(edge.destination, set()).add(("from", source, edge.port))
    return found


def _by_role(role_of: Mapping[str, str]) -> Mapping[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, role in role_of.items():
        found.setdefault(role, []).append(name)
    return found


def _strangers(names: Sequence[str], neighbours: Mapping[str, set[_Neighbour]]) -> Iterator[str]:
    """Those that have too little in common with the others of their role, or no others."""
    for name in names:
        own = neighbours[name]
        others: set[_Neighbour] = set().union(*(neighbours[other] for other in names if other != name))
        if len(own & others) < MIN_SHARED * len(own) or len(names) == 1:
            yield name


def _named(role: str, names: set[str]) -> str:
    """A role with the variants that are meant, as ``shop/cart (-v1, -v2)``."""
    if names == {role}:
        return role
    if len(names) == 1:
        return min(names)
    return f"{role} ({', '.join(name.removeprefix(role) or 'itself' for name in sorted(names))})"


def _edge_text(edge: GraphEdge) -> str:
    asked = ", ".join(match_text(match) for match in edge.http) or "anything"
    return f"{edge.source} -> {edge.destination}  {asked}"
