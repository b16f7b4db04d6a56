"""Blocked connections: the violation log by a query line, page by page, and each violation by itself. Changes nothing."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus
from typing import Annotated

import flask
from msgspec import Meta, Struct

from controlplane.api.asked import asked, filter_of, place
from controlplane.api.problems import problem
from controlplane.api.reading import read_number, read_query
from controlplane.api.requests import PLACE
from controlplane.store.interface import ViolationCounts, ViolationFilter
from controlplane.violations.histogram import Histogram, histogram
from controlplane.violations.line import MAX_LENGTH, BadQuery, quoted, write
from controlplane.violations.query import Query
from controlplane.web import bars
from controlplane.web.guard import Console

PAGE = 50
#: Lines that the page offers to begin with.
_BEGINNINGS = (
    ("Last hour", "since:1h"), ("Last day", "since:24h"), ("Dropped", "verdict:denied"), ("Only reported", "verdict:would-deny"),
)  # fmt: skip


class BlockedQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``q`` is the query line, ``before`` where the page before ended. A line that is too long is told like any other mistake."""

    q: str = ""
    before: Annotated[str, Meta(pattern=PLACE)] = ""


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("blocked", __name__)
    store = console.api.store

    @routes.get("/blocked")
    def several() -> flask.typing.ResponseReturnValue:
        given = read_query(BlockedQuery)
        query = asked(console.api, given.q)
        if isinstance(query, BadQuery):
            page = flask.render_template("blocked.html", line=given.q[: 2 * MAX_LENGTH], mistake=query, beginnings=_BEGINNINGS)
            return page, HTTPStatus.BAD_REQUEST
        found = store.violation_page(filter_of(query, given.before), PAGE)
        counts = store.count_violations(filter_of(query))
        return flask.render_template(
            "blocked.html", line=given.q, mistake=None, beginnings=_BEGINNINGS, page=found, counts=counts,
            older=place(found.before), is_first=not given.before, drawn=(drawn := _drawn(counts, query)),
            bars=list(bars.bars(drawn, lambda *span: _address(replace(query, since_ms=span[0], until_ms=span[1])))),
            box=(bars.WIDTH, bars.HEIGHT),
        )  # fmt: skip

    @routes.get("/blocked/<number>")
    def one(number: str) -> str:
        wanted = read_number(number, "violation")
        found = store.violations(ViolationFilter(after_id=wanted - 1 or -1), 1)
        if not found or found[0].id != wanted:
            detail, remedy = f"there is no violation {wanted}", "it may have been removed by age; look through the log"
            raise problem(HTTPStatus.NOT_FOUND, "missing", detail, where="path", remedy=remedy)
        edge = found[0].edge
        source, destination = f"from:{quoted(edge.source)}", f"to:{quoted(edge.destination)}"
        links = (
            ("All between these two", f"{source} {destination}"),
            ("All from this source", source),
            ("All to this destination", destination),
        )
        return flask.render_template("violation.html", violation=found[0], links=links)

    return routes


def _drawn(counts: ViolationCounts, query: Query) -> Histogram:
    since_ms = query.since_ms if counts.is_complete else 0
    return histogram(counts.points, counts.width_ms, since_ms, query.until_ms)


def _address(query: Query) -> str:
    return flask.url_for("blocked.several", q=write(query))
