"""What a page of the map is made of: reads the query, the graph, uses and violations of its time, and puts them together."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Annotated

from msgspec import Meta, Struct

from controlplane.api import outcomes
from controlplane.api.names import end_named
from controlplane.api.problems import problem
from controlplane.api.services import ApiServices
from controlplane.graph.atlas import Atlas, View, look
from controlplane.graph.chart import ChartedEdge
from controlplane.graph.evidence import HOUR_MS
from controlplane.graph.expression import MAX_LENGTH, BadExpression, Expression, read_expression
from controlplane.graph.learn import GraphEdge
from controlplane.graph.links import Link, Pair, State, links_of, uses
from controlplane.graph.proposal import load_proposal
from controlplane.graph.render.picture import kinds_of, node_of
from controlplane.policy.rules import Policy
from controlplane.store.stored import ViolationFilter
from controlplane.topology.model import Topology
from controlplane.web.choice import MAX_TEXT, read_rows
from controlplane.workflow.revisions import Refused

#: The newest violations that the map counts.
MAX_VIOLATIONS = 5_000
#: Uses by the hour that are counted for a time, the newest.
MAX_FLOWS = 200_000
#: Violations are of this time where the reader gives none.
VIOLATION_HOURS = 24
_Words = Annotated[str, Meta(max_length=MAX_LENGTH)]


class MapQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``find`` and ``hide`` are expressions, ``open`` namespaces with commas between (``*`` all), ``hours`` empty for all time.

    With a ``proposal``, its ``rows`` ("1-4,7", all when empty) and what comes within reach by them stand out.
    """

    find: _Words = ""
    hide: _Words = ""
    focus: Annotated[str, Meta(max_length=300)] = ""
    hops: Annotated[int, Meta(ge=1, le=6)] = 1
    hours: Annotated[str, Meta(pattern="^([1-9][0-9]{0,3})?$")] = ""
    open: Annotated[str, Meta(max_length=10_000)] | None = None
    proposal: Annotated[str, Meta(pattern="^([1-9][0-9]{0,14})?$")] = ""
    rows: Annotated[str, Meta(max_length=MAX_TEXT)] = ""


@dataclass(frozen=True, slots=True)
class Radius:
    """What a proposal does to the map: the pairs of its rows, and in words what changes about who reaches whom, by service."""

    rows: Mapping[Pair, GraphEdge] = field(default_factory=dict)
    reach: Mapping[str, str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Seen:
    """A view of the map with what it was made from. ``radius`` is that of the proposal, where one is looked at.

    ``unmeshed`` are how many pods of each workload, and of each namespace (``shop/``), should have a sidecar and have none.
    """

    atlas: Atlas
    radius: Radius
    charted: Sequence[ChartedEdge]
    policy: Policy
    topology: Topology
    unmeshed: Counter[str]


def see(api: ApiServices, query: MapQuery) -> Seen:
    """One view.

    Raises:
        ApiProblemError: an expression that cannot be read.
    """
    now, now_ms = api.publisher.in_force, api.clock_ms()
    charted = api.review.learning.chart(now.policy, now.topology, api.review.glance.edges())
    since_ms = max(now_ms - int(query.hours or VIOLATION_HOURS) * HOUR_MS, 1)
    used = uses(api.store.history(since_ms // HOUR_MS, MAX_FLOWS)) if query.hours else None
    refused = api.store.violations(ViolationFilter(since_ms=since_ms), MAX_VIOLATIONS)
    radius = _radius(api, query, now_ms)
    links = links_of(charted, refused, used, float(query.hours or 1))
    there = {link.pair for link in links}
    links += [_wished(edge) for pair, edge in radius.rows.items() if pair not in there]
    kinds = kinds_of(now.topology)
    names = {*kinds, *(end for link in links for end in link.pair)}
    focus = end_named(now.topology, query.focus.strip())
    opened = None if query.open is None else _opened(query.open, names)
    view = View(_read("find", query.find), _read("hide", query.hide), focus if focus in names else "", query.hops, opened)
    modes = {str(name): now.policy.mode(name) for name in now.topology.services}
    found = look([node_of(name, kinds) for name in sorted(names)], links, modes, view)
    return Seen(found, radius, charted, now.policy, now.topology, _unmeshed(api))


def _unmeshed(api: ApiServices) -> Counter[str]:
    """How many pods of what the map shows have no sidecar."""
    found = Counter(api.gaps().by_workload())
    for name, count in list(found.items()):
        found[f"{name.partition('/')[0]}/"] += count
    return found


def _radius(api: ApiServices, query: MapQuery, now_ms: int) -> Radius:
    """What the proposal of a query does.

    Raises:
        ApiProblemError: there is no such proposal, or it has no such rows.
    """
    if not query.proposal:
        return Radius()
    number, rows = int(query.proposal), read_rows([query.rows])
    if rows is None:
        detail, remedy = "rows are numbers such as 1-4,7", "choose rows on the proposal's page"
        raise problem(HTTPStatus.BAD_REQUEST, "query", detail, where="query.rows", remedy=remedy)
    stored = api.store.proposal(number)
    listed = dict(enumerate(load_proposal(stored.document), 1)) if stored is not None else {}
    wanted = rows or frozenset(listed)
    outcome = api.review.preview(number, now_ms, wanted)
    if isinstance(outcome, Refused):
        raise outcomes.refusal(outcome, "look at the list of proposals")
    chosen = [listed[row].edge for row in sorted(wanted)]
    return Radius({(e.source, e.destination): e for e in chosen}, {change.target: change.text for change in outcome.reach})


def _wished(edge: GraphEdge) -> Link:
    """An edge that a proposal asks for and that nobody has used yet."""
    return Link(edge.source, edge.destination, State.LEARNED, (f"{edge.port} {edge.protocol}".strip(),), 1, 0, 0)


def _read(where: str, text: str) -> Expression:
    found = read_expression(text)
    if isinstance(found, BadExpression):
        raise problem(HTTPStatus.BAD_REQUEST, "query", found.text, where=f"query.{where}", remedy=found.remedy)
    return found


def _opened(text: str, names: set[str]) -> frozenset[str]:
    if text == "*":
        return frozenset({name.partition("/")[0] for name in names} | {"", "ip"})
    return frozenset(text.split(","))
