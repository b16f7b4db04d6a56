"""Where things stand in a layered drawing: callers left, called right, few crossings. Pure arithmetic in units of one node.

After Sugiyama, Tagawa, Toda, "Methods for visual understanding of hierarchical system structures", IEEE Trans. SMC 11 (1981):
cycles are cut, names stand in layers by the longest way to them, lines that span several layers get a place in each, and the
order within layers follows the average place of neighbours. Every step goes in order of name, so a graph has one layout.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise

import networkx as nx

Pair = tuple[str, str]
#: A name, or the place of a long line in a layer: the line and the layer.
_Spot = str | tuple[Pair, int]
_SWEEPS = 12
#: The height of the place of a line among those of names, which have 1.
_LINE_HEIGHT = 0.4


@dataclass(frozen=True, slots=True)
class Layout:
    """``places`` are column and row of each name; ``ways`` the places that a line goes through, from its left to its right end.

    A row is where the middle of a place is; names take from half above to half below it, of ``rows`` in all, and do not overlap. A
    line against the order of columns (one of a cycle) has its way from left to right all the same.
    """

    places: Mapping[str, tuple[int, float]]
    ways: Mapping[Pair, tuple[tuple[int, float], ...]]
    columns: int
    rows: float


def arrange(names: Iterable[str], lines: Iterable[Pair]) -> Layout:
    """Lay a graph out. Lines from a name to itself have no way."""
    everything = sorted(set(names))
    wanted = sorted({line for line in lines if line[0] != line[1]})
    forward = {line: _turned(line, backward) for backward in [_backward(everything, wanted)] for line in wanted}
    column = _columns(everything, forward.values())
    layers, links = _spots(everything, sorted(set(forward.values())), column)
    _order(layers, links)
    rows = max((sum(map(_height, layer)) for layer in layers), default=0.0)
    row = {spot: middle for layer in layers for spot, middle in _stacked(layer, rows)}
    places = {name: (column[name], row[name]) for name in everything}
    ways = {line: tuple(_way(turned, column, row)) for line, turned in forward.items()}
    return Layout(places, ways, len(layers), rows)


def _turned(line: Pair, backward: set[Pair]) -> Pair:
    return (line[1], line[0]) if line in backward else line


def _backward(names: Sequence[str], lines: Sequence[Pair]) -> set[Pair]:
    """Lines that lead back to a name on the way to them, in a search from those that nobody calls."""
    behind: dict[str, list[str]] = {name: [] for name in names}
    called = {destination for _, destination in lines}
    for source, destination in lines:
        behind[source].append(destination)
    found: set[Pair] = set()
    done: set[str] = set()
    for start in sorted(names, key=lambda name: (name in called, name)):
        way = {start: iter(behind[start])}
        while way:
            name = next(reversed(way))
            further = next(way[name], None)
            if further is None:
                done.add(name)
                del way[name]
            elif further in way:
                found.add((name, further))
            elif further not in done:
                way[further] = iter(behind[further])
        done.add(start)
    return found


def _columns(names: Sequence[str], lines: Iterable[Pair]) -> dict[str, int]:
    """The longest way to each name; one that only calls stands right before what it calls."""
    graph: nx.DiGraph[str] = nx.DiGraph()
    graph.add_nodes_from(names)
    graph.add_edges_from(sorted(set(lines)))
    column: dict[str, int] = {}
    for name in nx.lexicographical_topological_sort(graph):
        column[name] = max((column[before] + 1 for before in graph.predecessors(name)), default=0)
    for name in names:
        if not graph.in_degree[name] and graph.out_degree[name]:
            column[name] = min(column[behind] for behind in graph.successors(name)) - 1
    return column


def _spots(
    names: Sequence[str], lines: Iterable[Pair], column: Mapping[str, int]
) -> tuple[list[list[_Spot]], list[tuple[_Spot, _Spot]]]:
    """The layers with a spot for each name and for each layer that a line passes, and the steps from layer to layer."""
    layers: list[list[_Spot]] = [[] for _ in range(max(column.values(), default=-1) + 1)]
    for name in names:
        layers[column[name]].append(name)
    links: list[tuple[_Spot, _Spot]] = []
    for line in lines:
        before: _Spot = line[0]
        for layer in range(column[line[0]] + 1, column[line[1]]):
            layers[layer].append((line, layer))
            links.append((before, (line, layer)))
            before = (line, layer)
        links.append((before, line[1]))
    return layers, links


def _order(layers: list[list[_Spot]], links: Sequence[tuple[_Spot, _Spot]]) -> None:
    """Sort each layer by the average place of its neighbours, to the right and back, and keep the order with fewest crossings."""
    left: dict[_Spot, list[_Spot]] = {}
    right: dict[_Spot, list[_Spot]] = {}
    for before, after in links:
        left.setdefault(after, []).append(before)
        right.setdefault(before, []).append(after)
    best = [list(layer) for layer in layers]
    fewest = _crossings(layers, right)
    for sweep in range(_SWEEPS):
        to_right = sweep % 2 == 0
        neighbours = left if to_right else right
        for at in range(1, len(layers)) if to_right else range(len(layers) - 2, -1, -1):
            fixed = layers[at - 1 if to_right else at + 1]
            place = {spot: number for number, spot in enumerate(fixed)}
            own = {spot: number for number, spot in enumerate(layers[at])}
            layers[at].sort(key=lambda spot: _average(neighbours.get(spot, ()), place, own[spot]))
        crossings = _crossings(layers, right)
        if crossings < fewest:
            fewest, best = crossings, [list(layer) for layer in layers]
    layers[:] = best


def _average(spots: Iterable[_Spot], place: Mapping[_Spot, int], otherwise: int) -> float:
    places = [place[spot] for spot in spots]
    return sum(places) / len(places) if places else otherwise


def _crossings(layers: Sequence[Sequence[_Spot]], right: Mapping[_Spot, list[_Spot]]) -> int:
    """How many pairs of steps cross: inversions in the order of their right ends."""
    total = 0
    for layer, following in pairwise(layers):
        place = {spot: number for number, spot in enumerate(following)}
        counts = [0] * (len(following) + 1)  # a binary indexed tree of the right ends so far
        seen = 0
        for spot in layer:
            ends = sorted(place[end] for end in right.get(spot, ()))
            for end in ends:
                before, at = 0, end + 1
                while at:
                    before += counts[at]
                    at -= at & -at
                total += seen - before
            for end in ends:
                at = end + 1
                while at <= len(following):
                    counts[at] += 1
                    at += at & -at
            seen += len(ends)
    return total


def _height(spot: _Spot) -> float:
    return 1.0 if isinstance(spot, str) else _LINE_HEIGHT


def _stacked(layer: Sequence[_Spot], rows: float) -> Iterable[tuple[_Spot, float]]:
    """The middles of the places of a layer, all of it in the middle of the drawing."""
    top = (rows - sum(map(_height, layer))) / 2
    for spot in layer:
        yield spot, top + _height(spot) / 2
        top += _height(spot)


def _way(turned: Pair, column: Mapping[str, int], row: Mapping[_Spot, float]) -> Iterable[tuple[int, float]]:
    start, end = turned
    yield column[start], row[start]
    for layer in range(column[start] + 1, column[end]):
        yield layer, row[turned, layer]
    yield column[end], row[end]
