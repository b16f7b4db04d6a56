"""The edges of the learned graph, and the rules that they ask for. Never approves anything, and never says what was seen."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from controlplane.policy.documents import parse_source
from controlplane.policy.rules import HttpMatch, Rule
from controlplane.topology.model import ServiceName, parse_service_name

#: A source that calls more gRPC methods of one port than this gets the port.
MAX_PATHS = 200


#: Source, destination, port and protocol.
Ends = tuple[str, str, int, str]


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

    @property
    def ends(self) -> Ends:
        """What makes it one edge."""
        return self.source, self.destination, self.port, self.protocol


def graph_of(edges: Iterable[GraphEdge]) -> nx.MultiDiGraph[str]:
    """The graph: nodes are workloads, services and hosts by name; parallel edges differ in port and protocol."""
    graph: nx.MultiDiGraph[str] = nx.MultiDiGraph()
    for edge in edges:
        graph.add_edge(edge.source, edge.destination, key=f"{edge.port}/{edge.protocol}", edge=edge)
    return graph


def edge_for(service: ServiceName, rule: Rule, protocol: str = "", last_seen_ms: int = 0) -> GraphEdge:
    """What a rule lets pass, as an edge without counts."""
    return GraphEdge(str(rule.source), str(service), rule.port, protocol, rule.http, 0, last_seen_ms, last_seen_ms)


def rule_of(edge: GraphEdge) -> tuple[ServiceName, Rule] | None:
    """The rule that would allow an edge; ``None`` when it names no service, port or source that a rule can hold."""
    try:
        return parse_service_name(edge.destination), Rule(parse_source(edge.source), edge.port, edge.http)
    except ValueError:
        return None
