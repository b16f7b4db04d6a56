"""`/api/v1/violations`: flows that the allow-list does not hold; filtered, followed and counted."""

from __future__ import annotations

import flask

from controlplane.api import shapes
from controlplane.api.names import end_named
from controlplane.api.reading import read_query, write
from controlplane.api.requests import ViolationCountQuery, ViolationsQuery
from controlplane.api.schemas import ViolationCount, Violations
from controlplane.api.services import ApiServices
from controlplane.flows.model import Verdict
from controlplane.store.interface import ViolationFilter

#: "After nothing": every id is larger, and rows come in the order of ids, which a filter without ``after_id`` does not ask for.
_FROM_THE_FIRST = -1


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("violations", __name__)

    def wanted(query: ViolationCountQuery, after_id: int) -> ViolationFilter:
        topology = services.publisher.topology
        return ViolationFilter(
            after_id=after_id,
            since_ms=query.since_ms,
            source=end_named(topology, query.source),
            destination=end_named(topology, query.destination),
            verdict=Verdict(query.verdict) if query.verdict else None,
            port=query.port,
            text=query.text,
        )

    @routes.get("/violations")
    def several() -> flask.Response:
        query = read_query(ViolationsQuery)
        after_id = 0 if query.after_id is None else query.after_id or _FROM_THE_FIRST
        found = services.store.violations(wanted(query, after_id), query.limit)
        last_id = max([violation.id for violation in found], default=query.after_id or 0)
        return write(Violations([shapes.violation(violation) for violation in found], last_id))

    @routes.get("/violations/count")
    def count() -> flask.Response:
        return write(ViolationCount(services.store.count_violations(wanted(read_query(ViolationCountQuery), 0))))

    return routes
