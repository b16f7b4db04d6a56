"""`/api/v1/violations`: flows that the allow-list does not hold; filtered, followed, counted and taken along."""

from __future__ import annotations

from dataclasses import replace

import flask

from controlplane.api import shapes
from controlplane.api.asked import asked_or_refused, filter_of, place, violation_numbered
from controlplane.api.exporting import Exports
from controlplane.api.names import end_named
from controlplane.api.reading import read_query, write
from controlplane.api.requests import ExportQuery, Nothing, ViolationCountQuery, ViolationsQuery
from controlplane.api.schemas import ViolationBin, ViolationCount, ViolationHistogram, Violations
from controlplane.api.services import ApiServices
from controlplane.flows.model import Verdict
from controlplane.store.stored import ViolationFilter
from controlplane.violations.exports import Format
from controlplane.violations.histogram import histogram

#: "After nothing": every id is larger, and rows come in the order of ids, which a filter without ``after_id`` does not ask for.
_FROM_THE_FIRST = -1


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("violations", __name__)
    exports = Exports(services.store)

    def wanted(query: ViolationCountQuery, before: str = "") -> ViolationFilter:
        topology = services.publisher.topology
        line = filter_of(asked_or_refused(services, query.q), before)
        return replace(
            line,
            since_ms=max(line.since_ms, query.since_ms),
            source=end_named(topology, query.source),
            destination=end_named(topology, query.destination),
            verdict=Verdict(query.verdict) if query.verdict else None,
            port=query.port,
            text=query.text,
            probes=query.probes,
        )

    @routes.get("/violations")
    def several() -> flask.Response:
        query = read_query(ViolationsQuery)
        narrowed = wanted(query, query.cursor)
        if query.after_id is None:
            page = services.store.violation_page(narrowed, query.limit)
            last_id = max([violation.id for violation in page.violations], default=0)
            listed = [shapes.violation(violation) for violation in page.violations]
            return write(Violations(listed, last_id, page.was_cut, place(page.before) or None))
        found = services.store.violations(replace(narrowed, after_id=query.after_id or _FROM_THE_FIRST), query.limit)
        last_id = max([violation.id for violation in found], default=query.after_id)
        return write(Violations([shapes.violation(violation) for violation in found], last_id))

    @routes.get("/violations/<number>")
    def one(number: str) -> flask.Response:
        read_query(Nothing)
        return write(shapes.violation(violation_numbered(services.store, number)))

    @routes.get("/violations/export")
    def export() -> flask.Response:
        query = read_query(ExportQuery)
        return exports.respond(wanted(query), Format(query.format), query.limit)

    @routes.get("/violations/count")
    def count() -> flask.Response:
        found = services.store.count_violations(wanted(read_query(ViolationCountQuery)))
        return write(ViolationCount(found.total, found.is_complete))

    @routes.get("/violations/histogram")
    def by_time() -> flask.Response:
        narrowed = wanted(read_query(ViolationCountQuery))
        found = services.store.count_violations(narrowed)
        drawn = histogram(found.points, found.width_ms, narrowed.since_ms if found.is_complete else 0, narrowed.until_ms)
        bins = [ViolationBin(part.begin_ms, part.denied, part.would_deny) for part in drawn.bins]
        return write(ViolationHistogram(drawn.width_ms, found.is_complete, bins))

    return routes
