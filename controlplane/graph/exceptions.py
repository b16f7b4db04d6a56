"""Timed exceptions that nobody used: each leaves a row to review, as those do that were used and so learned. Pure.

Whoever reviews sees all that was let through for a time, and says whether it is to be; until then the edge is shut.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import replace

from controlplane.graph.chart import protocol_of
from controlplane.graph.cover import Approved
from controlplane.graph.evidence import DAY_MS
from controlplane.graph.learn import GraphEdge, edge_for
from controlplane.graph.oddities import Mark, Oddity
from controlplane.graph.proposal import Rejected
from controlplane.graph.rows import Asked, ReviewRow
from controlplane.graph.upkeep import last_uses
from controlplane.policy.grants import Grant
from controlplane.policy.revise import added, revise
from controlplane.policy.rules import Policy
from controlplane.topology.model import Topology

#: So long after its end an exception awaits review.
REVIEWED_DAYS = 30
#: Until then after its end reports of its last uses may be on their way.
REPORTED_MS = 60_000


def unused_exceptions(
    grants: Iterable[Grant], seen: Collection[GraphEdge], policy: Policy, rejected: Rejected, topology: Topology, now_ms: int
) -> list[ReviewRow]:
    """The rows of ended exceptions, newest first, whose edges were never seen and on which nobody has decided."""
    over = [one for one in grants if one.ended_ms is not None and REPORTED_MS <= now_ms - one.ended_ms < REVIEWED_DAYS * DAY_MS]
    if not over:
        return []
    let_through = revise(Policy(), added({}, ((grant.service, grant.rule) for grant in over)), 0)
    used = last_uses(let_through, ((edge.source, edge.destination, edge.port, edge.last_seen_ms) for edge in seen))
    approved, rows = Approved(policy), dict[GraphEdge, ReviewRow]()
    for grant in over:
        edge = edge_for(grant.service, grant.rule, protocol_of(topology, grant.service, grant.rule.port))
        left = rejected.rest(edge, approved.missing(edge) or ())
        if not left or (grant.service, str(grant.rule.source), grant.rule.port) in used:
            continue
        edge = replace(edge, http=left) if edge.http else edge
        mark = Mark(Oddity.EXCEPTION, f"break-glass {grant.id} allowed it for a time, and nobody used it")
        rows.setdefault(edge, ReviewRow(edge, (mark,), asked=Asked(grant.actor, grant.reason, "", grant.created_ms)))
    return list(rows.values())
