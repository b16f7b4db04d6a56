"""What a page of the map is made of: reads the query, the graph, uses and violations of its time, and puts them together.

The learned graph is kept for a moment: everybody who looks at the map asks for it again and again.
"""

from __future__ import annotations

import threading
from collections.abc import Sequence
from dataclasses import dataclass
from http import HTTPStatus
from typing import Annotated

from msgspec import Meta, Struct

from controlplane.api.names import end_named
from controlplane.api.problems import problem
from controlplane.graph.atlas import Atlas, View, look
from controlplane.graph.chart import ChartedEdge, chart
from controlplane.graph.evidence import HOUR_MS
from controlplane.graph.expression import MAX_LENGTH, BadExpression, Expression, read_expression
from controlplane.graph.learn import GraphEdge
from controlplane.graph.links import links_of, uses
from controlplane.graph.render.picture import kinds_of, node_of
from controlplane.policy.rules import Policy
from controlplane.store.interface import ViolationFilter
from controlplane.topology.model import Topology
from controlplane.web.guard import Console

#: How old the learned graph of a page may be.
FRESH_MS = 3_000
#: The newest violations that the map counts.
MAX_VIOLATIONS = 5_000
#: Uses by the hour that are counted for a time, the newest.
MAX_FLOWS = 200_000
#: Violations are of this time where the reader gives none.
VIOLATION_HOURS = 24
_Words = Annotated[str, Meta(max_length=MAX_LENGTH)]


class MapQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``find`` and ``hide`` are expressions, ``open`` namespaces with commas between (``*`` all), ``hours`` empty for all time."""

    find: _Words = ""
    hide: _Words = ""
    focus: Annotated[str, Meta(max_length=300)] = ""
    hops: Annotated[int, Meta(ge=1, le=6)] = 1
    hours: Annotated[str, Meta(pattern="^([1-9][0-9]{0,3})?$")] = ""
    open: Annotated[str, Meta(max_length=10_000)] | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """A view of the map with what it was made from."""

    atlas: Atlas
    charted: Sequence[ChartedEdge]
    policy: Policy
    topology: Topology


class Observatory:
    """Makes views of one control plane's map. Safe to call from several threads."""

    def __init__(self, console: Console) -> None:
        self._api = console.api
        self._lock = threading.Lock()
        self._learned: tuple[int, list[GraphEdge]] | None = None

    def see(self, query: MapQuery) -> Seen:
        """One view.

        Raises:
            ApiProblemError: an expression that cannot be read.
        """
        now, now_ms = self._api.publisher.in_force, self._api.clock_ms()
        charted = chart(now.policy, self._graph(now_ms), now.topology)
        since_ms = max(now_ms - int(query.hours or VIOLATION_HOURS) * HOUR_MS, 1)
        used = uses(self._api.store.history(since_ms // HOUR_MS, MAX_FLOWS)) if query.hours else None
        refused = self._api.store.violations(ViolationFilter(since_ms=since_ms), MAX_VIOLATIONS)
        links = links_of(charted, refused, used)
        kinds = kinds_of(now.topology)
        names = {*kinds, *(end for link in links for end in link.pair)}
        focus = end_named(now.topology, query.focus.strip())
        opened = None if query.open is None else _opened(query.open, names)
        view = View(_read("find", query.find), _read("hide", query.hide), focus if focus in names else "", query.hops, opened)
        modes = {str(name): now.policy.mode(name) for name in now.topology.services}
        found = look([node_of(name, kinds) for name in sorted(names)], links, modes, view)
        return Seen(found, charted, now.policy, now.topology)

    def _graph(self, now_ms: int) -> list[GraphEdge]:
        with self._lock:
            if self._learned is None or not 0 <= now_ms - self._learned[0] < FRESH_MS:
                self._learned = now_ms, self._api.review.learned()
            return self._learned[1]


def _read(where: str, text: str) -> Expression:
    found = read_expression(text)
    if isinstance(found, BadExpression):
        raise problem(HTTPStatus.BAD_REQUEST, "query", found.text, where=f"query.{where}", remedy=found.remedy)
    return found


def _opened(text: str, names: set[str]) -> frozenset[str]:
    if text == "*":
        return frozenset({name.partition("/")[0] for name in names} | {"", "ip"})
    return frozenset(text.split(","))
