"""Approved edges with their leases and last uses, and which of them should go. Pure; takes nothing away: people do."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.graph.chart import is_within
from controlplane.graph.evidence import DAY_MS
from controlplane.graph.learn import GraphEdge, edge_for
from controlplane.graph.watch import Watch
from controlplane.policy.leases import EdgeLease
from controlplane.policy.rules import AddressSource, Policy, Rule
from controlplane.policy.traffic_policy import Held
from controlplane.topology.model import ServiceName

#: Of the days that count as unused, so many in a hundred have to have been watched whole.
WATCHED_PERCENT = 90


@dataclass(frozen=True, slots=True)
class HeldEdge:
    """An approved edge. ``since_ms`` is when it was last approved, as far as that is known; times are Unix milliseconds."""

    service: ServiceName
    rule: Rule
    lease: EdgeLease | None
    last_used_ms: int | None
    since_ms: int | None

    @property
    def edge(self) -> GraphEdge:
        """As an edge of the graph, without counts."""
        return edge_for(self.service, self.rule, last_seen_ms=self.last_used_ms or 0)


def held_edges(
    policy: Policy,
    leases: Mapping[Held, EdgeLease],
    learned: Iterable[GraphEdge],
    approved_ms: Mapping[int, int],
    kept: Mapping[Held, int],
) -> tuple[HeldEdge, ...]:
    """All approved edges by service, source and port.

    ``approved_ms`` has when a revision was made, ``kept`` the last uses of edges that may not be among the learned any more.
    """
    uses = last_uses(policy, ((edge.source, edge.destination, edge.port, edge.last_seen_ms) for edge in learned))
    found = []
    for name, listed in sorted(policy.services.items()):
        for rule in listed.rules:
            lease = leases.get((name, str(rule.source), rule.port))
            since_ms = lease.set_ms if lease is not None else approved_ms.get(listed.revision)
            held = name, str(rule.source), rule.port
            last_ms = max((known[held] for known in (uses, kept) if held in known), default=None)
            found.append(HeldEdge(name, rule, lease, last_ms, since_ms))
    return tuple(found)


def last_uses(policy: Policy, seen: Iterable[tuple[str, str, int, int]]) -> dict[Held, int]:
    """When each approved edge was last used, of uses by source, destination, port and time (Unix milliseconds)."""
    used: dict[tuple[str, int], dict[str, int]] = {}
    for source, destination, port, at_ms in seen:
        sources = used.setdefault((destination, port), {})
        sources[source] = max(at_ms, sources.get(source, 0))
    found: dict[Held, int] = {}
    for name, listed in policy.services.items():
        for rule in listed.rules:
            at = _last_use(rule, used.get((str(name), rule.port), {}))
            if at is not None:
                found[name, str(rule.source), rule.port] = at
    return found


def _last_use(rule: Rule, sources: Mapping[str, int]) -> int | None:
    if not isinstance(rule.source, AddressSource):
        return sources.get(str(rule.source))
    network = ipaddress.ip_network(rule.source.cidr)
    addresses = ((source.removeprefix("ip:"), at_ms) for source, at_ms in sources.items() if source.startswith("ip:"))
    return max((at_ms for address, at_ms in addresses if is_within(address, network)), default=None)


def removal_reason(held: HeldEdge, watches: Mapping[str, Watch], now_ms: int, unused_days: int) -> str:
    """Why an edge should be taken away, in words; empty when it should not, or nobody can tell.

    Unused is only what could have been seen: nearly all of that time was watched by the destination's sidecars, or else by the
    source's, and no log line was lost in it.
    """
    expires_ms = None if held.lease is None else held.lease.expires_ms
    if expires_ms is not None and expires_ms <= now_ms:
        return f"its lease ended {_days((now_ms - expires_ms) // DAY_MS)} ago"
    since_ms = max(held.since_ms or 0, held.last_used_ms or 0)
    unused_ms = now_ms - since_ms
    if not unused_days or not since_ms or unused_ms < unused_days * DAY_MS:
        return ""
    watch = watches.get(str(held.service)) or watches.get(str(held.rule.source))
    if watch is None or watch.lost_since(now_ms - unused_days * DAY_MS):
        return ""
    first_day = (now_ms - unused_days * DAY_MS) // DAY_MS
    watched = sum(day >= first_day for day in watch.full_days())
    if watched * 100 < unused_days * WATCHED_PERCENT:
        return ""
    unused = _days(unused_ms // DAY_MS)
    return f"not used for {unused}" if held.last_used_ms else f"approved {unused} ago and never used"


def _days(count: int) -> str:
    return f"{count} day{'' if count == 1 else 's'}"
