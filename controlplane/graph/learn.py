"""The learned graph, and the rules that its edges ask for. Never approves anything.

An HTTP edge asks for its method on any path; a gRPC edge asks for exactly the methods that were called, because a gRPC
path names a method and not a thing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from controlplane.flows.model import LearnedEdge
from controlplane.policy.documents import parse_source
from controlplane.policy.evaluate import Request, http_matches, rule_matches
from controlplane.policy.rules import AddressSource, HttpMatch, Policy, Rule
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
            http=_http_of(members),
            count=sum(edge.count for edge in members),
            first_seen_ms=min(edge.first_seen_ms for edge in members),
            last_seen_ms=max(edge.last_seen_ms for edge in members),
        )
        for key, members in sorted(grouped.items())
    ]


def _http_of(edges: Iterable[LearnedEdge]) -> tuple[HttpMatch, ...]:
    matches = {HttpMatch(edge.key.method, edge.key.path) for edge in edges if edge.key.method}
    if len(matches) > MAX_PATHS:
        matches = {HttpMatch(match.method) for match in matches}
    return tuple(sorted(matches))


def graph_of(edges: Iterable[GraphEdge]) -> nx.MultiDiGraph[str]:
    """The graph: nodes are workloads, services and hosts by name; parallel edges differ in port and protocol."""
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for edge in edges:
        graph.add_edge(edge.source, edge.destination, key=f"{edge.port}/{edge.protocol}", edge=edge)
    return graph


def rule_of(edge: GraphEdge) -> tuple[ServiceName, Rule] | None:
    """The rule that would allow an edge; ``None`` when it names no service or no source that a rule can hold."""
    try:
        source = parse_source(edge.source)
        service = parse_service_name(edge.destination)
    except ValueError:
        return None
    if isinstance(source, AddressSource) and "/" not in source.cidr:
        source = AddressSource(f"{source.cidr}/{128 if ':' in source.cidr else 32}")
    return service, Rule(source, edge.port, edge.http)


def is_approved(policy: Policy, edge: GraphEdge) -> bool:
    """Whether the policy's rules already hold everything that the edge does."""
    wanted = rule_of(edge)
    if wanted is None:
        return False
    service, rule = wanted
    listed = policy.of(service).rules
    if rule in listed:
        return True
    address = rule.source.cidr.partition("/")[0] if isinstance(rule.source, AddressSource) else ""
    workload = None if isinstance(rule.source, AddressSource) else rule.source
    for match in rule.http or (HttpMatch(),):
        request = Request(service, rule.port, workload, address, match.method, match.path or "/")
        covering = (r for r in listed if rule_matches(r, request))
        if not any(_covers(r.http, match) for r in covering):
            return False
    return True


def _covers(allowed: tuple[HttpMatch, ...], wanted: HttpMatch) -> bool:
    if not allowed:
        return True
    if not wanted.path:
        return any(m.method in {"", wanted.method} and not m.path for m in allowed)
    return any(http_matches(m, wanted.method, wanted.path) for m in allowed)

