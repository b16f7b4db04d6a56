"""Blocked connections: the violation log by a query line, and each violation by itself. Changes nothing: `acting` does."""

from __future__ import annotations

from dataclasses import dataclass, replace
from http import HTTPStatus
from typing import Annotated

import flask
from msgspec import Meta, Struct

from controlplane.api.asked import asked, asked_or_refused, filter_of, place, violation_numbered
from controlplane.api.exporting import MAX_ROWS, Exports
from controlplane.api.reading import read_query
from controlplane.api.requests import PLACE
from controlplane.flows.model import EdgeKey
from controlplane.policy.asks import Ask
from controlplane.policy.documents import parse_source
from controlplane.policy.explain import Explanation, explain, request_from
from controlplane.policy.grants import Grant
from controlplane.policy.rules import Mode
from controlplane.store.stored import ViolationCounts
from controlplane.topology.model import ServiceName
from controlplane.violations.exports import Format
from controlplane.violations.histogram import Histogram, histogram
from controlplane.violations.line import MAX_LENGTH, BadQuery, quoted, write
from controlplane.violations.query import Query
from controlplane.web import bars
from controlplane.web.guard import Console
from controlplane.web.services import modes_of
from controlplane.workflow.breakglass import MAX_ACTIVE
from controlplane.workflow.proposing import MAX_ASKS

PAGE = 50
#: Lines that the page offers to begin with.
_BEGINNINGS = (
    ("Last hour", "since:1h"), ("Last day", "since:24h"), ("Dropped", "verdict:denied"), ("Only reported", "verdict:would-deny"),
)  # fmt: skip


class BlockedQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``q`` is the query line, ``before`` where the page before ended. A line that is too long is told like any other mistake."""

    q: str = ""
    before: Annotated[str, Meta(pattern=PLACE)] = ""


class ExportQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The query line, and what file to make of it."""

    format: Format
    q: str = ""


@dataclass(frozen=True, slots=True)
class Standing:
    """What is being done about an edge: its ends that are services with their modes, a wish, an exception."""

    ends: tuple[tuple[str, Mode], ...]
    ask: Ask | None
    grant: Grant | None


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("blocked", __name__)
    store = console.api.store
    exports = Exports(store)

    @routes.get("/blocked")
    def several() -> flask.typing.ResponseReturnValue:
        given = read_query(BlockedQuery)
        query = asked(console.api, given.q)
        if isinstance(query, BadQuery):
            page = flask.render_template("blocked.html", line=given.q[: 2 * MAX_LENGTH], mistake=query, beginnings=_BEGINNINGS)
            return page, HTTPStatus.BAD_REQUEST
        found = store.violation_page(filter_of(query, given.before), PAGE)
        counts = store.count_violations(filter_of(query))
        drawn = _drawn(counts, query)
        return flask.render_template(
            "blocked.html", line=given.q, mistake=None, beginnings=_BEGINNINGS, page=found, counts=counts,
            after=store.last_violation_id(), older=place(found.before), is_first=not given.before, drawn=drawn,
            bars=list(bars.bars(drawn, lambda *span: _address(replace(query, since_ms=span[0], until_ms=span[1])))),
            box=(bars.WIDTH, bars.HEIGHT),
        )  # fmt: skip

    @routes.get("/blocked/export")
    def export() -> flask.Response:
        given = read_query(ExportQuery)
        return exports.respond(filter_of(asked_or_refused(console.api, given.q)), Format(given.format), MAX_ROWS)

    @routes.get("/blocked/<number>")
    def one(number: str) -> str:
        violation = violation_numbered(store, number)
        return flask.render_template(
            "violation.html", violation=violation, links=_links(violation.edge), standing=_standing(console, violation.edge),
            explained=_explained(console, violation.edge),
        )  # fmt: skip

    return routes


def _links(edge: EdgeKey) -> tuple[tuple[str, str], ...]:
    """Queries that lead on, each with its name."""
    source, destination = f"from:{quoted(edge.source)}", f"to:{quoted(edge.destination)}"
    return (
        ("All between these two", f"{source} {destination}"),
        ("All from this source", source),
        ("All to this destination", destination),
    )


def _explained(console: Console, edge: EdgeKey) -> Explanation | None:
    """What becomes of the same request now, and why; ``None`` where the destination is no service of the topology any more."""
    now = console.api.publisher.in_force
    namespace, _, name = edge.destination.partition("/")
    service = now.topology.services.get(ServiceName(namespace, name))
    if service is None:
        return None
    request = request_from(parse_source(edge.source), service.name, edge.port, edge.method, edge.path)
    return explain(now.policy, request, is_guarded=service.meshed)


def _standing(console: Console, edge: EdgeKey) -> Standing:
    """What is being done about an edge already."""
    ends = tuple(modes_of(console, dict.fromkeys((edge.source, edge.destination))))
    asks, grants = console.api.store.asks(MAX_ASKS), console.api.store.grants(MAX_ACTIVE, active=True)
    wanted = (parse_source(edge.source), edge.destination, edge.port)
    ask = next((ask for ask in asks if (ask.rule.source, str(ask.service), ask.rule.port) == wanted), None)
    grant = next((grant for grant in grants if (grant.rule.source, str(grant.service), grant.rule.port) == wanted), None)
    return Standing(ends, ask, grant)


def _drawn(counts: ViolationCounts, query: Query) -> Histogram:
    since_ms = query.since_ms if counts.is_complete else 0
    return histogram(counts.points, counts.width_ms, since_ms, query.until_ms)


def _address(query: Query) -> str:
    return flask.url_for("blocked.several", q=write(query))
