"""What was learned, read from the store: the graph with its evidence, and whether enough was seen. Writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping

from controlplane.graph.images import ImageUse
from controlplane.graph.learn import GraphEdge
from controlplane.graph.readiness import Readiness, assess_all
from controlplane.graph.relearn import LearnedGraph, relearn
from controlplane.graph.roles import Roles, roles_of
from controlplane.graph.samples import Samples, samples_of
from controlplane.store.interface import Store

#: How old what a `Glance` shows may be.
FRESH_MS = 3_000


class Learning:
    """A reader of the store; each answer is of its moment."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def graph(self) -> LearnedGraph:
        """The learned graph, with path templates."""
        return relearn(self._store.evidence())

    def edges(self) -> list[GraphEdge]:
        """The edges of the learned graph."""
        return list(self.graph().edges)

    def images(self) -> Mapping[tuple[str, str], Collection[ImageUse]]:
        """The images of a source that used something of a destination, by both their names."""
        found: dict[tuple[str, str], list[ImageUse]] = {}
        for key, known in self._store.evidence().items():
            if known.images is not None:
                found.setdefault((key.source, key.destination), []).extend(known.images.uses)
        return found

    def samples(self, edges: Collection[GraphEdge]) -> tuple[Mapping[GraphEdge, Samples], Roles]:
        """The use of some learned edges, and the roles of the whole graph."""
        evidence = self._store.evidence()
        graph = relearn(evidence)
        return samples_of(edges, graph, evidence), roles_of(graph.edges)

    def readiness(self) -> tuple[Readiness, tuple[Readiness, ...]]:
        """The readiness of the whole graph, and of each service that was watched or called."""
        return assess_all(self._store.evidence(), self._store.watches(), self._store.overflowing())


class Glance:
    """The learned edges as they were a moment ago, for views that are asked for again and again. No decision is made by them.

    Safe to use from several threads: who comes while they are read waits for the same.
    """

    def __init__(self, learning: Learning, clock_ms: Callable[[], int]) -> None:
        self._learning = learning
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._seen: tuple[int, list[GraphEdge]] | None = None

    def edges(self) -> list[GraphEdge]:
        """The edges, at most `FRESH_MS` old."""
        with self._lock:
            now_ms = self._clock_ms()
            if self._seen is None or not 0 <= now_ms - self._seen[0] < FRESH_MS:
                self._seen = now_ms, self._learning.edges()
            return self._seen[1]
