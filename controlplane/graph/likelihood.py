"""Edges that link prediction finds odd: the two ends have nothing in common with each other or with each other's neighbours. Pure.

Services that call each other mostly share neighbours: they are called by the same, call the same, or one calls the other's
callers. What nearly everyone calls (logs, metrics, authentication) says nothing and is left out. The measure is resource
allocation (Zhou, Lü, Zhang, "Predicting missing links via local information", Eur. Phys. J. B 71, 2009), between the two ends,
and between the caller and the other callers, because in a call graph those are more alike than the ends of a call.

An edge is odd when the measure is nothing at all, in a graph where nearly all trusted edges have something behind them. Where
that is not so, or the graph is small, nothing is odd. Only trusted edges count as common ground: an intruder's do not back each
other.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

import networkx as nx

from controlplane.graph.reach import Pair

#: The share of all names that a hub is a neighbour of, and how many at least.
HUB_SHARE = 0.1
MIN_HUB = 8
#: The share of trusted edges that may have nothing behind them, if that is to say anything about others.
MAX_BARE = 0.25
#: Fewer trusted edges that can be judged say nothing; more are not looked at.
MIN_TRUSTED = 30
MAX_TRUSTED = 1000
#: A caller with fewer other neighbours that are no hubs cannot be judged.
MIN_OTHERS = 2
#: Other callers that a caller is held against.
MAX_PEERS = 32


@dataclass(frozen=True, slots=True)
class Unlikely:
    """An odd edge, and why in words."""

    edge: Pair
    reason: str


class Likelihood:
    """Who has what in common by trusted edges. Not safe to use from several threads."""

    def __init__(self, trusted: Iterable[Pair]) -> None:
        self._trusted = sorted({(source, destination) for source, destination in trusted if source != destination})
        self._callers: dict[str, list[str]] = {}
        for source, destination in self._trusted:
            self._callers.setdefault(destination, []).append(source)
        self._graph: nx.Graph[str] = nx.Graph(self._trusted)
        hub = max(MIN_HUB, HUB_SHARE * len(self._graph))
        self._graph.remove_nodes_from([name for name, degree in list(self._graph.degree) if degree > hub])

    def score(self, edge: Pair) -> float | None:
        """How much an edge has behind it, 0 for nothing; ``None`` when that cannot be judged."""
        caller, called = edge
        graph = self._graph
        if caller not in graph or called not in graph or caller == called:
            return None
        held = graph.has_edge(caller, called)
        peers = [peer for peer in self._callers.get(called, ()) if peer != caller and peer in graph][:MAX_PEERS]
        if not peers or graph.degree[caller] - held < MIN_OTHERS:
            return None
        if held:  # or the edge would speak for itself
            graph.remove_edge(caller, called)
        found = nx.resource_allocation_index(graph, [(caller, other) for other in (called, *peers)])
        score = max(measure for _, _, measure in found)
        if held:
            graph.add_edge(caller, called)
        return float(score)

    def unlikely(self, wanted: Iterable[Pair]) -> list[Unlikely]:
        """Those of some edges that are odd, in the order in which they come."""
        sample = self._trusted[:: max(1, len(self._trusted) // MAX_TRUSTED)]
        scores = [score for edge in sample if (score := self.score(edge)) is not None]
        bare = sum(score == 0 for score in scores)
        if len(scores) < MIN_TRUSTED or bare > MAX_BARE * len(scores):
            return []
        usual = round(100 * (1 - bare / len(scores)))
        return [Unlikely(edge, self._reason(edge, usual)) for edge in wanted if self.score(edge) == 0]

    def _reason(self, edge: Pair, usual: int) -> str:
        caller, called = edge
        others = len(self._callers[called]) - (caller in self._callers[called])
        return (
            f"{caller} has no neighbour in common with {called} or its {others} other caller{'' if others == 1 else 's'},"
            f" as {usual} of 100 trusted edges have"
        )
