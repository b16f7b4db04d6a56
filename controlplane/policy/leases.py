"""Leases of approved edges: who answers for one, why it is there, until when. Pure values; an edge is not taken away by one."""

from __future__ import annotations

import datetime
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.policy.rules import Rule
from controlplane.policy.traffic_policy import Held, Lease, TrafficPolicy
from controlplane.topology.model import ServiceName


@dataclass(frozen=True, slots=True)
class EdgeLease:
    """The lease of one approved edge, who set it and when (Unix milliseconds)."""

    service: ServiceName
    source: str
    port: int
    lease: Lease
    actor: str
    set_ms: int

    @property
    def held(self) -> Held:
        """What it is the lease of."""
        return self.service, self.source, self.port

    @property
    def expires_ms(self) -> int | None:
        """When it is over."""
        return None if self.lease.expires is None else to_ms(self.lease.expires)


def to_ms(moment: datetime.datetime) -> int:
    """Unix milliseconds."""
    return round(moment.timestamp() * 1000)


def from_ms(at_ms: int) -> datetime.datetime:
    """A moment in UTC."""
    return datetime.datetime.fromtimestamp(at_ms / 1000, datetime.UTC)


def leases_for(wanted: Iterable[tuple[ServiceName, Rule]], lease: Lease, actor: str, now_ms: int) -> tuple[EdgeLease, ...]:
    """The same lease for several edges."""
    held = dict.fromkeys((service, str(rule.source), rule.port) for service, rule in wanted)
    return tuple(EdgeLease(*ends, lease, actor, now_ms) for ends in held)


def leases_of(documents: Iterable[TrafficPolicy], actor: str, now_ms: int) -> tuple[EdgeLease, ...]:
    """The leases that documents write; the last one of an edge counts."""
    found: dict[Held, Lease] = {}
    for document in documents:
        for written, rule in document.expanded():
            if written.lease is not None:
                found[document.service, str(rule.source), rule.port] = written.lease
    return tuple(EdgeLease(*held, lease, actor, now_ms) for held, lease in found.items())
