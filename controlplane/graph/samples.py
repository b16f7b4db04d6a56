"""What a reviewer is shown of the use of an edge: how much, when, from how many replicas, and what a template stands for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from controlplane.flows.model import EdgeKey
from controlplane.graph.evidence import Evidence
from controlplane.graph.learn import Ends, GraphEdge
from controlplane.graph.readiness import weekday
from controlplane.graph.relearn import LearnedGraph


@dataclass(frozen=True, slots=True)
class Widened:
    """A path of an edge that stands for more than what was seen, and why in words."""

    method: str
    path: str
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Samples:
    """The use of one edge. ``weekdays`` count from Monday, 0; ``hours_of_week`` of 168; ``replicas`` are some of the source's."""

    days: int
    weekdays: tuple[int, ...]
    hours_of_week: int
    replica_count: int
    replicas: tuple[str, ...]
    images: tuple[str, ...]
    widened: tuple[Widened, ...]


def samples_of(
    edges: Collection[GraphEdge], graph: LearnedGraph, evidence: Mapping[EdgeKey, Evidence]
) -> Mapping[GraphEdge, Samples]:
    """The samples of some edges of a learned graph; those without evidence are left out."""
    wanted = {edge.ends for edge in edges}
    merged: dict[Ends, Evidence] = {}
    for key, known in evidence.items():
        if key[:4] in wanted:
            together = merged.get(key[:4])
            if together is None:
                together = merged[key[:4]] = Evidence(0, known.first_seen_ms, known.last_seen_ms)
            together.merge_use(known)
    return {edge: _samples(edge, graph, merged[edge.ends]) for edge in edges if edge.ends in merged}


def _samples(edge: GraphEdge, graph: LearnedGraph, known: Evidence) -> Samples:
    last = known.last_day
    days = [last - back for back in range(known.days.bit_length()) if known.days >> back & 1]
    templates = ((match, graph.template(edge, match)) for match in edge.http)
    return Samples(
        known.days_used,
        tuple(sorted({weekday(day) for day in days})),
        known.hours.bit_count(),
        0 if known.replicas is None else known.replicas.count,
        () if known.replicas is None else known.replicas.examples,
        () if known.images is None else known.images.examples,
        tuple(Widened(match.method, match.path, found.reasons) for match, found in templates if found and found.reasons),
    )
