"""What was learned, read from the store: the graph with its evidence, and whether enough was seen. Writes nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Mapping, Sequence

from controlplane.flows.model import EdgeKey
from controlplane.graph.chart import ChartedEdge, chart
from controlplane.graph.evidence import Evidence
from controlplane.graph.images import ImageUse
from controlplane.graph.learn import GraphEdge
from controlplane.graph.readiness import Readiness, assess_all
from controlplane.graph.relearn import LearnedGraph, Relearning, relearn
from controlplane.graph.roles import Roles, roles_of
from controlplane.graph.samples import Samples, samples_of
from controlplane.policy.rules import Policy
from controlplane.store.interface import Store
from controlplane.topology.model import Topology
from controlplane.workflow.remembered import Remembered

#: A graph of more edges is made anew each time: it would take gigabytes to remember.
MAX_KEPT = 200_000
#: How old what a `Glance` shows may be.
FRESH_MS = 3_000


class Learning:
    """A reader of the store; each answer is of its moment. Safe to use from several threads."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._lock = threading.Lock()
        self._relearning = Relearning()
        self._readiness = Remembered[tuple[Readiness, tuple[Readiness, ...]]]()
        self._chart = Remembered[Sequence[ChartedEdge]]()

    def graph(self) -> LearnedGraph:
        """The learned graph, with path templates: the very one of the last time where nothing was learned since."""
        return self._graph_of(self._store.evidence())

    def _graph_of(self, evidence: Mapping[EdgeKey, Evidence]) -> LearnedGraph:
        if len(evidence) > MAX_KEPT:
            return relearn(evidence)
        with self._lock:
            return self._relearning.learn(evidence)

    def edges(self) -> Sequence[GraphEdge]:
        """The edges of the learned graph."""
        return self.graph().edges

    def chart(self, policy: Policy, topology: Topology, edges: Sequence[GraphEdge]) -> Sequence[ChartedEdge]:
        """Every edge of a learned graph, or that a policy approves (`graph.chart`)."""
        return self._chart.answer((policy, topology, edges), lambda: chart(policy, edges, topology))

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
        graph = self._graph_of(evidence)
        return samples_of(edges, graph, evidence), roles_of(graph.edges)

    def readiness(self) -> tuple[Readiness, tuple[Readiness, ...]]:
        """The readiness of the whole graph, and of each service that was watched or called."""
        of = self._store.evidence(), self._store.watches(), self._store.overflowing()
        return self._readiness.answer(of, lambda: assess_all(*of))


class Glance:
    """The learned edges as they were a moment ago, for views that are asked for again and again. No decision is made by them.

    Safe to use from several threads: who comes while they are read waits for the same.
    """

    def __init__(self, learning: Learning, clock_ms: Callable[[], int]) -> None:
        self._learning = learning
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._seen: tuple[int, Sequence[GraphEdge]] | None = None

    def edges(self) -> Sequence[GraphEdge]:
        """The edges, at most `FRESH_MS` old."""
        with self._lock:
            now_ms = self._clock_ms()
            if self._seen is None or not 0 <= now_ms - self._seen[0] < FRESH_MS:
                self._seen = now_ms, self._learning.edges()
            return self._seen[1]
