"""The evidence of every edge, as flows come in. Pure and bounded; `graph.relearn` makes a graph of it.

A path of an HTTP request is kept as its shape (`graph.pathshape`), so identifiers do not make edges; a gRPC path names a method
and is kept as it is. A flow that was seen before costs two look-ups.
"""

from __future__ import annotations

import heapq
from collections.abc import Iterator

from controlplane.flows.model import EdgeKey, Flow
from controlplane.graph.distinct import text_hash
from controlplane.graph.evidence import Evidence
from controlplane.graph.pathshape import shape_of

#: In place of a path that no pattern may stand for; no rule can say it, so such an edge asks for nothing.
UNSAYABLE = "?"
#: Edges of one source, or of all peers without identity together; the least by hash are kept.
MAX_EDGES_A_SOURCE = 20_000
_MAX_REMEMBERED = 100_000
_ADDRESS = "ip:"


class Shapes:
    """Edges with the shapes of their paths; paths that were seen are remembered, and forgotten together. For several threads."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[str, tuple[str, ...]]] = {}

    def of(self, edge: EdgeKey) -> tuple[EdgeKey, tuple[str, ...]]:
        """The edge as it is kept, and the segments behind the parameters of its path."""
        if not edge.path or edge.protocol != "http":
            return edge, ()
        path, values = self._known.get(edge.path) or self._shape(edge.path)
        if path == edge.path:
            return edge, values
        return EdgeKey(edge.source, edge.destination, edge.port, edge.protocol, edge.method, path), values

    def _shape(self, path: str) -> tuple[str, tuple[str, ...]]:
        found: tuple[str, tuple[str, ...]] = (UNSAYABLE, ())
        shaped = shape_of(path)
        if shaped is not None:
            values = (segment for token, segment in zip(shaped[0].tokens, shaped[1], strict=True) if "{" in token)
            found = shaped[0].text, tuple(values)
        if len(self._known) >= _MAX_REMEMBERED:
            self._known.clear()
        self._known[path] = found
        return found


class Ledger:
    """The evidence of every edge. Not safe to change from several threads."""

    def __init__(self, max_edges_a_source: int = MAX_EDGES_A_SOURCE, shapes: Shapes | None = None) -> None:
        self.edges: dict[EdgeKey, Evidence] = {}
        self._shapes = shapes or Shapes()
        self._max = max_edges_a_source
        self._counts: dict[str, int] = {}
        self._worst: dict[str, list[tuple[int, EdgeKey]]] = {}  # heaps of sources that have too many edges, largest hash first

    def add(self, flow: Flow, replica: str = "") -> None:
        """Learn from a flow that was let through. ``replica`` is its source's, empty where not known."""
        edge, values = self._shapes.of(flow.edge)
        evidence = self.edges.get(edge)
        if evidence is not None:
            evidence.see(flow.count, flow.first_seen_ms, flow.last_seen_ms)
        else:
            evidence = Evidence(flow.count, flow.first_seen_ms, flow.last_seen_ms)
            if not self._keep(edge, evidence):
                return
        if values:
            evidence.asked_for(values)
        if replica:
            evidence.came_from(replica)
        if flow.image:
            evidence.ran(flow.image, flow.first_seen_ms, flow.last_seen_ms)

    def merge(self, edge: EdgeKey, evidence: Evidence) -> None:
        """Learn what was known of an edge elsewhere."""
        own = self.edges.get(edge)
        if own is not None:
            own.merge(evidence)
        else:
            fresh = Evidence(0, evidence.first_seen_ms, evidence.last_seen_ms)
            fresh.merge(evidence)
            self._keep(edge, fresh)

    @property
    def overflowing(self) -> frozenset[str]:
        """Sources with more edges than are kept; ``ip:`` stands for all peers without identity."""
        return frozenset(self._worst)

    def of(self, service: str) -> Iterator[tuple[EdgeKey, Evidence]]:
        """The edges to one destination."""
        return ((edge, evidence) for edge, evidence in self.edges.items() if edge.destination == service)

    def _keep(self, edge: EdgeKey, evidence: Evidence) -> bool:
        """Take in a new edge; ``False`` when its source has as many that come before it."""
        group = group_of(edge)
        count = self._counts.get(group, 0)
        if count >= self._max:
            worst = self._worst.get(group)
            if worst is None:
                worst = self._worst[group] = [(-_rank(known), known) for known in self.edges if group_of(known) == group]
                heapq.heapify(worst)
            entry = (-_rank(edge), edge)
            dropped = heapq.heappushpop(worst, entry)
            if dropped is entry:
                return False
            del self.edges[dropped[1]]
        else:
            self._counts[group] = count + 1
        self.edges[edge] = evidence
        return True


def group_of(edge: EdgeKey) -> str:
    """Whose edges it is counted among: its source's, or those of all peers without identity."""
    return _ADDRESS if edge.source.startswith(_ADDRESS) else edge.source


def _rank(edge: EdgeKey) -> int:
    return text_hash("\0".join(map(str, edge)))
