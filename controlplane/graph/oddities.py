"""Signs that learning was poisoned: edges that a person should look at first. Pure; nothing here ever approves or refuses.

Whoever controls one workload can make any edge be seen. What gives it away is how: many targets at once, hardly used, toward
what is worth stealing, from where nobody else comes. Each mark says its reason in words; a marked edge is never pre-selected.
"""

from __future__ import annotations

import enum
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.graph.fanout import Thresholds, bursts, scans
from controlplane.graph.learn import GraphEdge
from controlplane.graph.likelihood import Likelihood
from controlplane.topology.model import Kind, Topology
from controlplane.topology.protocol import is_datastore

#: Edges held against the rest of the graph; the least used first.
MAX_JUDGED = 5000


class Oddity(enum.StrEnum):
    """What is odd, worst first."""

    SENSITIVE = "sensitive"  # from where trust is low to what is worth protecting
    SCAN = "scan"  # many targets in a short time, hardly used
    BURST = "burst"  # an old source that suddenly calls many new destinations
    CROWDED = "crowded"  # more paths than can be told apart
    UNLIKELY = "unlikely"  # nothing in common with the others that call this
    EXCEPTION = "exception"  # allowed for a time, and never used: `graph.exceptions`


@dataclass(frozen=True, slots=True)
class Mark:
    """Why an edge is odd, in words."""

    oddity: Oddity
    reason: str


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What is known beside the flows. Each name comes with why, as "is a datastore" or "takes traffic from outside"."""

    sensitive: Mapping[str, str] = field(default_factory=dict)
    low_trust: Mapping[str, str] = field(default_factory=dict)
    crowded: Collection[tuple[str, int]] = frozenset()  # services and ports whose paths are more than are told apart

    def distrust(self, source: str) -> str:
        """Why a source has low trust; empty when it has not."""
        return "has no identity" if source.startswith("ip:") else self.low_trust.get(source, "")


def surroundings_of(
    topology: Topology,
    sensitive: Iterable[str] = (),
    low_trust: Iterable[str] = (),
    crowded: Collection[tuple[str, int]] = frozenset(),
) -> Surroundings:
    """What a topology says: datastores are sensitive, gateways have low trust. Names that people add come on top."""
    stores = [
        str(name)
        for name, service in topology.services.items()
        if service.kind is Kind.DATASTORE or any(is_datastore(port.protocol) for port in service.ports)
    ]
    gateways = [str(name) for name, service in topology.services.items() if service.kind is Kind.GATEWAY]
    return Surroundings(
        dict.fromkeys(stores, "is a datastore") | dict.fromkeys(sensitive, "is marked as sensitive"),
        dict.fromkeys(gateways, "takes traffic from outside") | dict.fromkeys(low_trust, "is marked as of low trust"),
        crowded,
    )


def find_oddities(
    edges: Iterable[GraphEdge], trusted: Iterable[GraphEdge], surroundings: Surroundings, thresholds: Thresholds | None = None
) -> Mapping[GraphEdge, tuple[Mark, ...]]:
    """The marks of each edge that has any, worst first.

    Args:
        edges: all learned edges, as what is odd shows against the rest.
        trusted: those of them that are approved. Where none is yet, all are held against each other.
        surroundings: what is known beside the flows.
        thresholds: from where on something is odd.
    """
    known = list(edges)
    approved = set(trusted)
    fresh = [edge for edge in known if edge not in approved]
    limits = thresholds or Thresholds()
    found: dict[GraphEdge, list[Mark]] = {}
    for edge, mark in (
        *_sensitive(fresh, surroundings),
        *((edge, Mark(Oddity.SCAN, text)) for edge, text in scans(known, limits)),
        *((edge, Mark(Oddity.BURST, text)) for edge, text in bursts(known, limits)),
        *_crowded(fresh, surroundings),
        *_unlikely(known, fresh, approved),
    ):
        marks = found.setdefault(edge, [])
        if edge not in approved and all(mark.oddity is not other.oddity for other in marks):
            marks.append(mark)
    return {edge: tuple(marks) for edge, marks in found.items() if marks}


def _sensitive(edges: Iterable[GraphEdge], surroundings: Surroundings) -> Iterator[tuple[GraphEdge, Mark]]:
    for edge in edges:
        worth, distrust = surroundings.sensitive.get(edge.destination), surroundings.distrust(edge.source)
        if worth and distrust:
            yield edge, Mark(Oddity.SENSITIVE, f"{edge.destination} {worth}, and {edge.source} {distrust}")


def _crowded(edges: Iterable[GraphEdge], surroundings: Surroundings) -> Iterator[tuple[GraphEdge, Mark]]:
    for edge in edges:
        if (edge.destination, edge.port) in surroundings.crowded:
            yield edge, Mark(Oddity.CROWDED, f"{edge.destination}:{edge.port} was asked for more paths than can be told apart")


def _unlikely(
    edges: Sequence[GraphEdge], fresh: Sequence[GraphEdge], approved: Collection[GraphEdge]
) -> Iterator[tuple[GraphEdge, Mark]]:
    by_pair: dict[tuple[str, str], list[GraphEdge]] = {}
    for edge in fresh:
        by_pair.setdefault((edge.source, edge.destination), []).append(edge)
    least = sorted(by_pair, key=lambda pair: (min(edge.count for edge in by_pair[pair]), pair))
    trusted = ((edge.source, edge.destination) for edge in (approved or edges))
    for odd in Likelihood(trusted).unlikely(least[:MAX_JUDGED]):
        yield from ((edge, Mark(Oddity.UNLIKELY, odd.reason)) for edge in by_pair[odd.edge])
