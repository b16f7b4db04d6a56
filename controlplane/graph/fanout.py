"""Sources that call very many targets at once: scans, and bursts of new destinations. Pure; says which edges, and why in words."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from controlplane.graph.learn import GraphEdge

_MINUTE_MS = 60_000
_DAY_MS = 24 * 60 * _MINUTE_MS


@dataclass(frozen=True, slots=True)
class Thresholds:
    """From where on it is too many. A target of a scan is a port of a destination; it was hardly used."""

    scan_window_ms: int = 10 * _MINUTE_MS
    scan_targets: int = 12
    scan_ports: int = 5  # of one destination
    thin_count: int = 3  # requests or connections, at most
    burst_window_ms: int = 60 * _MINUTE_MS
    burst_destinations: int = 5
    settled_ms: int = _DAY_MS


def scans(edges: Iterable[GraphEdge], limits: Thresholds) -> Iterator[tuple[GraphEdge, str]]:
    """Edges of sources that tried many targets within a short time and hardly used them."""
    thin = (edge for edge in edges if edge.count <= limits.thin_count)
    for source, own in _by_source(thin).items():
        for run in _runs(own, limits.scan_window_ms):
            yield from _scan(source, run, limits)


def _scan(source: str, run: Sequence[GraphEdge], limits: Thresholds) -> Iterator[tuple[GraphEdge, str]]:
    within = f"within {limits.scan_window_ms // _MINUTE_MS} minutes, none more than {limits.thin_count} times"
    targets = {(edge.destination, edge.port) for edge in run}
    if len(targets) >= limits.scan_targets:
        text = f"{source} tried {len(targets)} ports of {len({name for name, _ in targets})} destinations {within}"
        yield from ((edge, text) for edge in run)
        return
    ports: dict[str, int] = {}
    for destination, _ in targets:
        ports[destination] = ports.get(destination, 0) + 1
    for edge in run:
        if ports[edge.destination] >= limits.scan_ports:
            yield edge, f"{source} tried {ports[edge.destination]} ports of {edge.destination} {within}"


def bursts(edges: Iterable[GraphEdge], limits: Thresholds) -> Iterator[tuple[GraphEdge, str]]:
    """Edges to new destinations of a source that was settled: at least as many at once as it had before."""
    for source, own in _by_source(edges).items():
        first: dict[str, GraphEdge] = {}
        for edge in own:
            first.setdefault(edge.destination, edge)
        fresh = list(first.values())
        for run in _runs(fresh, limits.burst_window_ms):
            before = fresh.index(run[0])
            settled_ms = run[0].first_seen_ms - fresh[0].first_seen_ms
            if settled_ms >= limits.settled_ms and len(run) >= max(limits.burst_destinations, before):
                within = f"within {limits.burst_window_ms // _MINUTE_MS} minutes"
                text = f"{source} called {len(run)} new destinations {within}, after {before} in {settled_ms // _DAY_MS} days"
                called = {edge.destination for edge in run}
                yield from ((edge, text) for edge in own if edge.destination in called)


def _by_source(edges: Iterable[GraphEdge]) -> Mapping[str, list[GraphEdge]]:
    """Each source's edges, in the order in which they were first seen."""
    found: dict[str, list[GraphEdge]] = {}
    for edge in edges:
        found.setdefault(edge.source, []).append(edge)
    for own in found.values():
        own.sort(key=lambda edge: (edge.first_seen_ms, edge.destination, edge.port, edge.protocol))
    return found


def _runs(edges: Sequence[GraphEdge], window_ms: int) -> Iterator[Sequence[GraphEdge]]:
    """Every longest run of edges that were first seen within a window."""
    start = 0
    for end, edge in enumerate(edges):
        while edge.first_seen_ms - edges[start].first_seen_ms > window_ms:
            start += 1
        if end + 1 == len(edges) or edges[end + 1].first_seen_ms - edges[start].first_seen_ms > window_ms:
            yield edges[start : end + 1]
