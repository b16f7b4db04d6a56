"""Leases of approved edges: who answers for one, why it is there, until when. Pure values; an edge is not taken away by one."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from controlplane.policy.rules import Rule
from controlplane.policy.traffic_policy import Held, Lease, TrafficPolicy
from controlplane.topology.model import ServiceName


@dataclass(frozen=True, slots=True)
class EdgeLease:
    """The lease of one approved edge, who set it and when (Unix milliseconds). ``written``: it came from a file."""

    service: ServiceName
    source: str
    port: int
    lease: Lease
    actor: str
    set_ms: int
    written: bool = False

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


def completed(lease: Lease, others: Iterable[Lease]) -> Lease:
    """A lease, with what it leaves open as the first of some others says that."""
    for other in others:
        lease = Lease(
            lease.owner or other.owner, lease.reason or other.reason, lease.ticket or other.ticket, lease.expires or other.expires
        )
    return lease


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
    return tuple(EdgeLease(*held, lease, actor, now_ms, written=True) for held, lease in found.items())


@dataclass(frozen=True, slots=True)
class WrittenLeases:
    """What applying files does to leases: those that are set, those that stay and are the files' from now on, and those that go."""

    changed: tuple[EdgeLease, ...] = ()
    taken_over: tuple[EdgeLease, ...] = ()
    removed: tuple[EdgeLease, ...] = ()

    @property
    def all(self) -> tuple[EdgeLease, ...]:
        """Everything that is to be stored."""
        return self.changed + self.taken_over + self.removed


def written_leases(documents: Sequence[TrafficPolicy], kept: Iterable[EdgeLease], actor: str, now_ms: int) -> WrittenLeases:
    """Compare the leases in files with those that are kept.

    One that came from a file goes when it is taken out of it. One that was set by an approval or a renewal stays: no file ever
    said anything of it.
    """
    known = {lease.held: lease for lease in kept}
    wanted = {lease.held: lease for lease in leases_of(documents, actor, now_ms)}
    changed, taken_over = [], []
    for held, lease in wanted.items():
        before = known.get(held)
        if before is None or before.lease != lease.lease:
            changed.append(lease)
        elif not before.written:
            taken_over.append(replace(before, written=True))
    named = {document.service for document in documents}
    removed = [
        replace(lease, lease=Lease(), actor=actor, written=False)
        for held, lease in known.items()
        if lease.written and lease.service in named and held not in wanted
    ]
    return WrittenLeases(tuple(changed), tuple(taken_over), tuple(removed))
