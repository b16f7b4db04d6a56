"""The learned graph with path templates, made from the evidence of all edges. Pure; never asks for more than it can show.

Templates are mined from what all sources ask of a port, and each source then asks for those that it used: a source alone may be
too quiet to show that a word is a value. Making it again from the same evidence gives the same graph.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.flows.model import EdgeKey
from controlplane.graph.distinct import Distinct
from controlplane.graph.evidence import Evidence
from controlplane.graph.learn import MAX_PATHS, GraphEdge
from controlplane.graph.ledger import UNSAYABLE
from controlplane.graph.pathshape import Shape, shape_from
from controlplane.graph.portpaths import PortPaths
from controlplane.graph.templates import Generalisation, Mined, Template
from controlplane.policy.rules import HttpMatch

#: A port of a service.
Place = tuple[str, int]
_Edges = list[tuple[EdgeKey, Evidence]]


@dataclass(frozen=True, slots=True)
class LearnedGraph:
    """``edges`` are in order of source, destination, port and protocol; ``mined`` has the templates of each port and method.

    ``crowded`` are ports of which more paths were seen than are told apart. ``unsaid`` are edges with requests that no rule can
    say: such requests ask for nothing, and would be denied. ``pathless`` are edges of which only the method is known, and which
    therefore ask for any path.
    """

    edges: tuple[GraphEdge, ...]
    mined: Mapping[tuple[str, int, str], Mined]
    crowded: frozenset[Place]
    unsaid: tuple[EdgeKey, ...]
    pathless: tuple[EdgeKey, ...]

    def template(self, edge: GraphEdge, match: HttpMatch) -> Template | None:
        """The template behind what an edge asks for, with its evidence; ``None`` where there is none."""
        mined = self.mined.get((edge.destination, edge.port, match.method))
        return None if mined is None else next((found for found in mined.templates if found.path == match.path), None)


@dataclass(frozen=True, slots=True)
class _Learned:
    """What the callers of one place gave; ``of`` is the evidence that it was made from."""

    of: tuple[Evidence, ...]
    edges: tuple[GraphEdge, ...]
    mined: Mapping[tuple[str, int, str], Mined]
    is_crowded: bool
    unsaid: tuple[EdgeKey, ...]
    pathless: tuple[EdgeKey, ...]


class Relearning:
    """Makes the graph again and again, and of it only the places whose evidence is not the very objects of the last time.

    A place is learned from its own callers alone, so what is kept is what would be made. Not safe to use from several threads.
    """

    def __init__(self, rule: Generalisation | None = None) -> None:
        self._rule = rule
        self._places: dict[Place, _Learned] = {}
        self._graph = LearnedGraph((), {}, frozenset(), (), ())

    def learn(self, evidence: Mapping[EdgeKey, Evidence]) -> LearnedGraph:
        """The graph of this evidence: the very one of the last time where nothing changed. See `relearn`."""
        places: dict[Place, _Edges] = {}
        for edge, known in evidence.items():
            places.setdefault((edge.destination, edge.port), []).append((edge, known))
        before, now = self._places, dict[Place, _Learned]()
        for place, used in places.items():
            kept = before.get(place)
            same = kept is not None and len(kept.of) == len(used) and all(a is b for a, (_, b) in zip(kept.of, used, strict=True))
            now[place] = kept if kept is not None and same else _learned(place, used, self._rule)
        if len(now) != len(before) or any(before.get(place) is not learned for place, learned in now.items()):
            self._places, self._graph = now, _together(now)
        return self._graph


def relearn(evidence: Mapping[EdgeKey, Evidence], rule: Generalisation | None = None) -> LearnedGraph:
    """Make the graph. The keys' HTTP paths are shapes, as `graph.ledger` keeps them."""
    return Relearning(rule).learn(evidence)


def _together(places: Mapping[Place, _Learned]) -> LearnedGraph:
    learned = places.values()
    edges = [edge for found in learned for edge in found.edges]
    edges.sort(key=lambda edge: (edge.source, edge.destination, edge.port, edge.protocol))
    return LearnedGraph(
        tuple(edges),
        {method: mined for found in learned for method, mined in found.mined.items()},
        frozenset(place for place, found in places.items() if found.is_crowded),
        tuple(sorted(edge for found in learned for edge in found.unsaid)),
        tuple(sorted(edge for found in learned for edge in found.pathless)),
    )


def _learned(place: Place, used: _Edges, rule: Generalisation | None) -> _Learned:
    """One port of a service, from what all its callers asked for."""
    destination, port = place
    callers: dict[tuple[str, str], _Edges] = {}
    for edge, known in used:
        callers.setdefault((edge.source, edge.protocol), []).append((edge, known))
    paths, shapes = _paths(callers.values())
    mined = {(destination, port, method): paths.mined(method, rule) for method in paths.methods}
    matches = {
        (method, path): _said(method, mined[destination, port, method].of_shape(shaped))
        for (method, path), shaped in shapes.items()
        if method in paths.methods
    }
    edges: list[GraphEdge] = []
    unsaid: list[EdgeKey] = []
    pathless: list[EdgeKey] = []
    for (source, protocol), theirs in callers.items():
        asked = {edge: _match(edge, matches) for edge, _ in theirs if edge.method}
        _narrow(asked)
        unsaid += (edge for edge, match in asked.items() if match is None)
        pathless += (edge for edge, match in asked.items() if match is not None and not match.path)
        http = _bounded({match for match in asked.values() if match is not None})
        if http or not asked:
            edges.append(GraphEdge(source, destination, port, protocol, http, *_sums(theirs)))
    is_crowded = any(paths.is_crowded(method) for method in paths.methods)
    return _Learned(tuple(known for _, known in used), tuple(edges), mined, is_crowded, tuple(unsaid), tuple(pathless))


def _sums(used: _Edges) -> tuple[int, int, int]:
    if len(used) == 1:
        known = used[0][1]
        return known.count, known.first_seen_ms, known.last_seen_ms
    return (
        sum(known.count for _, known in used),
        min(known.first_seen_ms for _, known in used),
        max(known.last_seen_ms for _, known in used),
    )


def _paths(callers: Iterable[_Edges]) -> tuple[PortPaths, Mapping[tuple[str, str], Shape]]:
    """What all callers together asked for at one port, and the shapes by method and path."""
    values: dict[tuple[str, str], list[Distinct]] = {}
    for used in callers:
        for edge, known in used:
            if edge.path and edge.protocol == "http" and edge.path != UNSAYABLE:
                together = values.setdefault((edge.method, edge.path), [])
                for place, seen in enumerate(known.values):
                    if place == len(together):
                        together.append(Distinct())
                    together[place].merge(seen)
    paths = PortPaths()
    shapes: dict[tuple[str, str], Shape] = {}
    for (method, path), together in values.items():
        shaped = shapes[method, path] = shape_from(path)
        # The segments behind a parameter may not be known.
        behind = iter(together)
        paths.add(method, shaped, [next(behind, Distinct()) if "{" in token else token for token in shaped.tokens])
    return paths, shapes


def _narrow(asked: dict[EdgeKey, HttpMatch | None]) -> None:
    """Take any path off methods of which paths are known: sidecars leave paths out where a caller makes up too many."""
    known = {match.method for match in asked.values() if match is not None and match.path}
    for edge, match in asked.items():
        if match is not None and not match.path and match.method in known:
            asked[edge] = None


def _bounded(asked: set[HttpMatch]) -> tuple[HttpMatch, ...]:
    if len(asked) > MAX_PATHS:
        return tuple(sorted({HttpMatch(match.method) for match in asked}))
    return tuple(sorted(asked))


def _said(method: str, template: Template | None) -> HttpMatch | None:
    try:
        return None if template is None else template.match(method)
    except ValueError:
        return None  # no rule can name the method


def _match(edge: EdgeKey, matches: Mapping[tuple[str, str], HttpMatch | None]) -> HttpMatch | None:
    """What one edge asks for; ``None`` when no rule can say it, or its method is one of too many."""
    if edge.protocol == "http" and edge.path:
        return matches.get((edge.method, edge.path))
    try:
        match = HttpMatch(edge.method, edge.path)
    except ValueError:
        return None
    return None if match.is_prefix or match.is_template else match
