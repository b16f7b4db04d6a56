"""A proposal: the learned edges that the approved policy does not hold, and the rows of a review as JSON text and back.

Never approves: nothing approves itself.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

import msgspec

from controlplane.graph.cover import covers, unapproved
from controlplane.graph.learn import Ends, GraphEdge, rule_of
from controlplane.graph.oddities import Mark, Oddity
from controlplane.graph.rows import Asked, ReviewRow
from controlplane.policy.revise import RuleSets, added, taken
from controlplane.policy.rules import HttpMatch, Policy, Rule
from controlplane.topology.model import ServiceName


class _Http(msgspec.Struct, omit_defaults=True):
    method: str = ""
    path: str = ""


class _Mark(msgspec.Struct):
    oddity: Oddity
    reason: str


class _Asked(msgspec.Struct):
    by: str
    reason: str
    link: str
    at_ms: int


class _Row(msgspec.Struct, omit_defaults=True):
    source: str
    destination: str
    port: int
    protocol: str
    count: int
    first_seen_ms: int
    last_seen_ms: int
    http: list[_Http] = []
    marks: list[_Mark] = []
    removal: str = ""
    asked: _Asked | None = None


class Rejected:
    """What was turned down, by methods and paths: that is not proposed again by itself, and nothing else is held back."""

    def __init__(self, edges: Iterable[GraphEdge]) -> None:
        self._matches: dict[Ends, set[HttpMatch]] = {}
        for edge in edges:
            self._matches.setdefault(edge.ends, set()).update(edge.http or (HttpMatch(),))
        self._wide = {ends: [m for m in matches if not _is_exact(m)] for ends, matches in self._matches.items()}

    def rest(self, edge: GraphEdge, missing: Iterable[HttpMatch]) -> tuple[HttpMatch, ...]:
        """What is left of the matches that an edge lacks."""
        ends = edge.ends
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


def additions(rows: Iterable[ReviewRow]) -> list[tuple[ServiceName, Rule]]:
    """What approving these rows adds."""
    return [wanted for row in rows if not row.removal and (wanted := rule_of(row.edge)) is not None]


def removals(rows: Iterable[ReviewRow]) -> list[tuple[ServiceName, Rule]]:
    """What approving these rows takes away."""
    return [wanted for row in rows if row.removal and (wanted := rule_of(row.edge)) is not None]


def decided(rules: RuleSets, rows: Collection[ReviewRow]) -> RuleSets:
    """The rules with these rows approved."""
    return taken(added(rules, additions(rows)), removals(rows))


def dump_proposal(rows: Iterable[ReviewRow]) -> str:
    """The proposal's document."""
    items = [
        _Row(
            edge.source, edge.destination, edge.port, edge.protocol, edge.count, edge.first_seen_ms, edge.last_seen_ms,
            [_Http(match.method, match.path) for match in edge.http],
            [_Mark(mark.oddity, mark.reason) for mark in row.marks], row.removal,
            None if row.asked is None else _Asked(row.asked.by, row.asked.reason, row.asked.link, row.asked.at_ms),
        )
        for row in rows for edge in (row.edge,)
    ]  # fmt: skip
    return msgspec.json.encode(items).decode()


def load_proposal(text: str) -> tuple[ReviewRow, ...]:
    """Read what `dump_proposal` wrote.

    Raises:
        msgspec.DecodeError: another text.
    """
    return tuple(
        ReviewRow(
            GraphEdge(
                item.source, item.destination, item.port, item.protocol,
                tuple(HttpMatch(h.method, h.path) for h in item.http),
                item.count, item.first_seen_ms, item.last_seen_ms,
            ),
            tuple(Mark(mark.oddity, mark.reason) for mark in item.marks),
            item.removal,
            None if item.asked is None else Asked(item.asked.by, item.asked.reason, item.asked.link, item.asked.at_ms),
        )
        for item in msgspec.json.decode(text, type=list[_Row])
    )  # fmt: skip
