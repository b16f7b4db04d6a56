"""A proposal: the learned edges that the approved policy does not hold, with their evidence, as JSON text and back.

Never approves: nothing approves itself.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from controlplane.graph.learn import GraphEdge, is_approved, rule_of
from controlplane.policy.rules import HttpMatch, Policy, Rule
from controlplane.topology.model import ServiceName


class _Http(msgspec.Struct, omit_defaults=True):
    method: str = ""
    path: str = ""


class _Edge(msgspec.Struct, omit_defaults=True):
    source: str
    destination: str
    port: int
    protocol: str
    count: int
    first_seen_ms: int
    last_seen_ms: int
    http: list[_Http] = []


def propose(policy: Policy, edges: Iterable[GraphEdge]) -> tuple[GraphEdge, ...]:
    """The edges to review."""
    return tuple(edge for edge in edges if rule_of(edge) is not None and not is_approved(policy, edge))


def additions(edges: Iterable[GraphEdge]) -> list[tuple[ServiceName, Rule]]:
    """What approving these edges adds."""
    return [wanted for edge in edges if (wanted := rule_of(edge)) is not None]


def dump_proposal(edges: Iterable[GraphEdge]) -> str:
    """The proposal's document."""
    items = [
        _Edge(
            edge.source, edge.destination, edge.port, edge.protocol, edge.count, edge.first_seen_ms, edge.last_seen_ms,
            [_Http(match.method, match.path) for match in edge.http],
        )
        for edge in edges
    ]  # fmt: skip
    return msgspec.json.encode(items).decode()


def load_proposal(text: str) -> tuple[GraphEdge, ...]:
    """Read what `dump_proposal` wrote.

    Raises:
        msgspec.DecodeError: another text.
    """
    return tuple(
        GraphEdge(
            item.source, item.destination, item.port, item.protocol,
            tuple(HttpMatch(h.method, h.path) for h in item.http),
            item.count, item.first_seen_ms, item.last_seen_ms,
        )
        for item in msgspec.json.decode(text, type=list[_Edge])
    )  # fmt: skip


def same_edges(left: Iterable[GraphEdge], right: Iterable[GraphEdge]) -> bool:
    """Whether two proposals ask for the same, whatever their counts."""
    return {_identity(edge) for edge in left} == {_identity(edge) for edge in right}


def _identity(edge: GraphEdge) -> tuple[str, str, int, str, tuple[HttpMatch, ...]]:
    return (edge.source, edge.destination, edge.port, edge.protocol, edge.http)
