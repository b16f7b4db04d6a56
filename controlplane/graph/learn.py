"""The learned graph, and the rules that its edges ask for. Never approves anything.

An HTTP edge asks for its method on any path; a gRPC edge asks for exactly the methods that were called, because a gRPC
path names a method and not a thing. What was seen comes from traffic, so it may be anything: what no rule can say exactly
(a path that would read as a pattern, a method or host of another form) asks for nothing, never for more.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from controlplane.flows.model import LearnedEdge
from controlplane.policy.documents import parse_source
from controlplane.policy.rules import HttpMatch, Rule
from controlplane.topology.model import ServiceName, parse_service_name

#: A source that calls more gRPC methods of one port than this gets the port.
MAX_PATHS = 200


@dataclass(frozen=True, slots=True)
class GraphEdge:
    """What one source sends to one port of one service, summed over methods and paths. Times are Unix milliseconds."""

    source: str
    destination: str
    port: int
    protocol: str
    http: tuple[HttpMatch, ...]
    count: int
    first_seen_ms: int
    last_seen_ms: int


def summarise(edges: Iterable[LearnedEdge]) -> list[GraphEdge]:
    """Learned edges, one per source, destination, port and protocol, in a stable order."""
    grouped: dict[tuple[str, str, int, str], list[LearnedEdge]] = {}
    for edge in edges:
        grouped.setdefault((edge.key.source, edge.key.destination, edge.key.port, edge.key.protocol), []).append(edge)
    return [
        GraphEdge(
            *key,
            http=http,
            count=sum(edge.count for edge in members),
            first_seen_ms=min(edge.first_seen_ms for edge in members),
            last_seen_ms=max(edge.last_seen_ms for edge in members),
        )
        for key, members in sorted(grouped.items())
        if (http := _http_of(members)) is not None
    ]


def _http_of(edges: Iterable[LearnedEdge]) -> tuple[HttpMatch, ...] | None:
    """What they did; empty where the protocol has no methods, ``None`` when no rule can say it."""
    seen = {(edge.key.method, edge.key.path) for edge in edges if edge.key.method}
    matches = {match for method, path in seen if (match := _exactly(method, path)) is not None}
    if len(matches) > MAX_PATHS:
        matches = {HttpMatch(match.method) for match in matches}
    return tuple(sorted(matches)) if matches or not seen else None


def _exactly(method: str, path: str) -> HttpMatch | None:
    """The match that holds this and nothing else."""
    try:
        match = HttpMatch(method, path)
    except ValueError:
        return None
    return None if match.is_prefix or match.is_template else match


def graph_of(edges: Iterable[GraphEdge]) -> nx.MultiDiGraph[str]:
    """The graph: nodes are workloads, services and hosts by name; parallel edges differ in port and protocol."""
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for edge in edges:
        graph.add_edge(edge.source, edge.destination, key=f"{edge.port}/{edge.protocol}", edge=edge)
    return graph


def rule_of(edge: GraphEdge) -> tuple[ServiceName, Rule] | None:
    """The rule that would allow an edge; ``None`` when it names no service, port or source that a rule can hold."""
    try:
        return parse_service_name(edge.destination), Rule(parse_source(edge.source), edge.port, edge.http)
    except ValueError:
        return None
