"""What a policy would do: the edges in use that it would deny once everything is enforced, and whom it lets reach whom. Pure.

Says what was seen, not what will come: `graph.readiness` estimates that.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.graph.cover import Approved
from controlplane.graph.learn import GraphEdge
from controlplane.graph.reach import Pair, Reach, ReachChange, blast_radius, call_graph
from controlplane.policy.rules import AddressSource, HttpMatch, Policy


@dataclass(frozen=True, slots=True)
class DeniedEdge:
    """An edge that is in use and would be denied, and which of its methods and paths; all of it where it has none."""

    edge: GraphEdge
    missing: tuple[HttpMatch, ...]


@dataclass(frozen=True, slots=True)
class Preview:
    """``edges`` were in use, ``denied`` are those that the policy does not hold, the busiest first; ``reach`` changes by it."""

    edges: int
    denied: tuple[DeniedEdge, ...]
    reach: tuple[ReachChange, ...]


def preview(current: Policy, candidate: Policy, learned: Iterable[GraphEdge], since_ms: int) -> Preview:
    """What the candidate would do with what was last used since then, and how it differs from the policy in force."""
    used = [edge for edge in learned if edge.last_seen_ms >= since_ms]
    approved = Approved(candidate)
    denied = [DeniedEdge(edge, missing or ()) for edge in used if (missing := approved.missing(edge)) != ()]
    denied.sort(key=lambda found: (-found.edge.count, found.edge.source, found.edge.destination, found.edge.port))
    before, after = _pairs(current), _pairs(candidate)
    reach = blast_radius(Reach(call_graph(before)), after - before, before - after) if before != after else ()
    return Preview(len(used), tuple(denied), reach)


def _pairs(policy: Policy) -> set[Pair]:
    """Who may call whom. Addresses are left out: nobody is behind one for sure."""
    return {
        (str(rule.source), str(name))
        for name, listed in policy.services.items()
        for rule in listed.rules
        if not isinstance(rule.source, AddressSource)
    }
