"""A proposal: the learned edges that the approved policy does not hold, with their evidence, as JSON text and back.

Never approves: nothing approves itself.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec

from controlplane.graph.cover import covers, unapproved
from controlplane.graph.learn import GraphEdge, rule_of
from controlplane.policy.rules import HttpMatch, Policy, Rule
from controlplane.topology.model import ServiceName

_Ends = tuple[str, str, int, str]


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


class Rejected:
    """What was turned down, by methods and paths: that is not proposed again by itself, and nothing else is held back."""

    def __init__(self, edges: Iterable[GraphEdge]) -> None:
        self._matches: dict[_Ends, set[HttpMatch]] = {}
        for edge in edges:
            self._matches.setdefault(_ends(edge), set()).update(edge.http or (HttpMatch(),))
        self._wide = {ends: [m for m in matches if not _is_exact(m)] for ends, matches in self._matches.items()}

    def rest(self, edge: GraphEdge, missing: Iterable[HttpMatch]) -> tuple[HttpMatch, ...]:
        """What is left of the matches that an edge lacks."""
        ends = _ends(edge)
        turned_down, wide = self._matches.get(ends, ()), self._wide.get(ends, ())
        return tuple(m for m in missing if m not in turned_down and not any(covers(other, m) for other in wide))


def _is_exact(match: HttpMatch) -> bool:
    return bool(match.method and match.path) and not match.is_prefix and not match.is_template


def propose(policy: Policy, edges: Iterable[GraphEdge], rejected: Rejected) -> tuple[GraphEdge, ...]:
    """The edges to review, each with only those methods and paths that the policy does not hold."""
    found = []
    for edge, missing in unapproved(policy, edges).items():
        rest = rejected.rest(edge, missing)
        if rest:
            found.append(replace(edge, http=rest) if edge.http else edge)
    return tuple(found)


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


def _identity(edge: GraphEdge) -> tuple[_Ends, tuple[HttpMatch, ...]]:
    return _ends(edge), edge.http


def _ends(edge: GraphEdge) -> _Ends:
    return edge.source, edge.destination, edge.port, edge.protocol
