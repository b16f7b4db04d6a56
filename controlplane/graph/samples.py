"""What a reviewer is shown of the use of an edge: how much, when, from how many replicas, and what a template stands for. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass

from controlplane.flows.model import EdgeKey
from controlplane.graph.evidence import Evidence
from controlplane.graph.images import Images, ImageUse
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
    """The use of one edge. ``weekdays`` count from Monday, 0; ``hours_of_week`` of 168; ``replicas`` are some of the source's.

    ``images`` of the source used it, by their first use. ``came_with`` is the digest of the one that the edge came with, where the
    source ran others before and none of them used it; else empty.
    """

    days: int
    weekdays: tuple[int, ...]
    hours_of_week: int
    replica_count: int
    replicas: tuple[str, ...]
    images: tuple[ImageUse, ...]
    came_with: str
    widened: tuple[Widened, ...]


def samples_of(
    edges: Collection[GraphEdge], graph: LearnedGraph, evidence: Mapping[EdgeKey, Evidence]
) -> Mapping[GraphEdge, Samples]:
    """The samples of some edges of a learned graph; those without evidence are left out."""
    wanted = {edge.ends for edge in edges}
    merged: dict[Ends, Evidence] = {}
    ran: dict[str, Images] = {edge.source: Images() for edge in edges}
    for key, known in evidence.items():
        if known.images is not None and key.source in ran:
            ran[key.source].merge(known.images)
        if key[:4] in wanted:
            together = merged.get(key[:4])
            if together is None:
                together = merged[key[:4]] = Evidence(0, known.first_seen_ms, known.last_seen_ms)
            together.merge_use(known)
    return {edge: _samples(edge, graph, merged[edge.ends], ran.get(edge.source)) for edge in edges if edge.ends in merged}


def _came_with(known: Evidence, ran: Images | None) -> str:
    """The image with which an edge came, given those that its source ran."""
    if known.images is None or ran is None:
        return ""
    first = known.images.uses[0]
    own = {use.digest for use in known.images.uses}
    others = any(use.digest not in own and use.first_seen_ms < first.first_seen_ms for use in ran.uses)
    return first.digest if others and known.first_seen_ms >= first.first_seen_ms else ""


def _samples(edge: GraphEdge, graph: LearnedGraph, known: Evidence, ran: Images | None) -> Samples:
    last = known.last_day
    days = [last - back for back in range(known.days.bit_length()) if known.days >> back & 1]
    templates = ((match, graph.template(edge, match)) for match in edge.http)
    return Samples(
        known.days_used,
        tuple(sorted({weekday(day) for day in days})),
        known.hours.bit_count(),
        0 if known.replicas is None else known.replicas.count,
        () if known.replicas is None else known.replicas.examples,
        () if known.images is None else known.images.uses,
        _came_with(known, ran),
        tuple(Widened(match.method, match.path, found.reasons) for match, found in templates if found and found.reasons),
    )
