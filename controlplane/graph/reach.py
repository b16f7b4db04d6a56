"""Who reaches whom through any number of calls, and what an approval changes about that: its blast radius. Pure.

A workload that is taken over can do what its edges let it do, and then what those of the next one let it do. Reach ignores ports
and methods, so it never says too little.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Container, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

import networkx as nx

#: Names that a change lists; the counts are of all.
MAX_NAMES = 20

Pair = tuple[str, str]


def call_graph(pairs: Iterable[Pair]) -> nx.DiGraph[str]:
    """Who calls whom directly."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_edges_from(pairs)
    return graph


def distances(graph: nx.DiGraph[str], start: str) -> Mapping[str, int]:
    """What a workload reaches, with the number of calls it takes; nearest first, then by name. Empty when it is not there."""
    if start not in graph:
        return {}
    found = nx.single_source_shortest_path_length(graph, start)
    return dict(sorted(((name, steps) for name, steps in found.items() if steps), key=lambda pair: (pair[1], pair[0])))


class Reach:
    """For every name in a graph, from which others it can be reached. The graph may not change while this is in use.

    ``sets`` are bits in the order of ``names``; the set of a name that reaches itself has itself in it.
    """

    def __init__(self, graph: nx.DiGraph[str]) -> None:
        self.graph = graph
        self.names = sorted(graph)
        self.sets = _callers(graph, self.names)

    def callers(self, name: str) -> frozenset[str]:
        """Those that reach a name in any number of calls, itself left out."""
        return frozenset(_named(self.sets.get(name, 0), self.names)) - {name}

    def after(self, added: Iterable[Pair], removed: Iterable[Pair]) -> tuple[Sequence[str], Mapping[str, int]]:
        """Names and sets with other edges. Adding costs what it changes; removing costs as much as beginning anew."""
        unwanted = set(removed)
        come = [pair for pair in added if pair not in unwanted]
        gone = [pair for pair in unwanted if self.graph.has_edge(*pair)]
        names = [*self.names, *sorted({end for pair in come for end in pair} - set(self.names))]
        grown = None if gone else self._spread(come, names)
        if grown is not None:
            return names, grown
        graph = self.graph.copy()
        graph.remove_edges_from(gone)
        graph.add_edges_from(come)
        return names, _callers(graph, names)

    def _spread(self, come: Sequence[Pair], names: Sequence[str]) -> Mapping[str, int] | None:
        """The sets after some edges came: what reaches their beginnings now reaches their ends and what is behind.

        ``None`` when that is nearly everything, as where an edge leads back from the end to the beginning.
        """
        place = {name: place for place, name in enumerate(names)}
        sets = dict(self.sets)
        beyond: dict[str, list[str]] = {}
        for source, target in come:
            beyond.setdefault(source, []).append(target)
        waiting = deque(come)
        steps = self.graph.number_of_edges() // 4 + 1000
        while waiting:
            steps -= 1
            if not steps:
                return None
            source, target = waiting.popleft()
            known = sets.get(target, 0)
            now = known | sets.get(source, 0) | 1 << place[source]
            if now != known:
                sets[target] = now
                direct = self.graph.successors(target) if target in self.graph else ()
                waiting.extend((target, name) for name in (*direct, *beyond.get(target, ())))
        return sets


def _callers(graph: nx.DiGraph[str], names: Sequence[str]) -> Mapping[str, int]:
    """Everything that reaches each name; names that reach each other share one set."""
    place = {name: place for place, name in enumerate(names)}
    together = nx.condensation(graph)
    bits: dict[int, int] = {}
    found: dict[str, int] = {}
    for component in nx.topological_sort(together):
        members: set[str] = together.nodes[component]["members"]
        own = 0
        for before in together.predecessors(component):
            own |= bits[before]
        themselves = sum(1 << place[name] for name in members)
        if len(members) > 1 or any(graph.has_edge(name, name) for name in members):
            own |= themselves
        found.update(dict.fromkeys(members, own))
        bits[component] = own | themselves
    return found


def _named(bits: int, names: Sequence[str]) -> Iterator[str]:
    while bits:
        lowest = bits & -bits
        yield names[lowest.bit_length() - 1]
        bits ^= lowest


def _first(bits: int, names: Sequence[str]) -> tuple[str, ...]:
    return tuple(islice(_named(bits, names), MAX_NAMES))


@dataclass(frozen=True, slots=True)
class ReachChange:
    """What becomes of the reach of one service. ``gained`` and ``lost`` are some of the names; the counts are of all."""

    target: str
    before: int
    after: int
    gained_count: int
    lost_count: int
    gained: tuple[str, ...]
    lost: tuple[str, ...]

    @property
    def text(self) -> str:
        """In words."""
        parts = []
        if self.gained_count:
            parts.append(f"makes {self.target} reachable from {_workloads(self.gained_count)}")
        if self.lost_count:
            parts.append(f"{'takes' if not parts else 'and takes'} {self.target} out of reach of {_workloads(self.lost_count, '')}")
        return " ".join(parts)


def _workloads(count: int, more: str = "more ") -> str:
    return f"{count:,} {more}workload{'' if count == 1 else 's'}"


def blast_radius(
    approved: Reach, added: Iterable[Pair] = (), removed: Iterable[Pair] = (), targets: Container[str] | None = None
) -> tuple[ReachChange, ...]:
    """What adding and removing edges changes about who reaches whom, the largest gain first.

    Args:
        approved: the reach of the edges in force.
        added: those that would be approved.
        removed: those that would be taken off.
        targets: the only services to look at; all when left out.
    """
    names, sets = approved.after(added, removed)
    changes = []
    for place, target in enumerate(names):
        if targets is not None and target not in targets:
            continue
        itself = 1 << place
        was, now = approved.sets.get(target, 0) & ~itself, sets.get(target, 0) & ~itself
        if was != now:
            gained, lost = now & ~was, was & ~now
            counts = was.bit_count(), now.bit_count(), gained.bit_count(), lost.bit_count()
            changes.append(ReachChange(target, *counts, _first(gained, names), _first(lost, names)))
    return tuple(sorted(changes, key=lambda change: (-change.gained_count, -change.lost_count, change.target)))
