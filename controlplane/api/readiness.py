"""`/api/v1/readiness`: whether enough was seen of each service to enforce it, and what is missing."""

from __future__ import annotations

import flask

from controlplane.api.names import service_named
from controlplane.api.reading import read_query, write
from controlplane.api.requests import ReadinessQuery
from controlplane.api.review_schemas import Interval, Missing, Readiness, ServiceReadiness, UsedEdge
from controlplane.api.services import ApiServices
from controlplane.flows.model import EdgeKey
from controlplane.graph import readiness
from controlplane.graph.gate import NotReady


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("readiness", __name__)

    @routes.get("/readiness")
    def show() -> flask.Response:
        query = read_query(ReadinessQuery)
        wanted = None
        if query.service:
            wanted = str(service_named(services.publisher.topology, query.service, "query.service"))
        whole, each = services.review.modes.verdicts(wanted)
        return write(Readiness(_readiness(*whole), [_readiness(*one) for one in each]))

    return routes


def _readiness(found: readiness.Readiness, blocking: NotReady | None) -> ServiceReadiness:
    expected = found.denials_a_day
    return ServiceReadiness(
        service=found.subject, ready=blocking is None, summary=found.summary, edges=found.edges, full_days=found.full_days,
        weekdays=sorted(found.weekdays), hours_of_week=found.hours_of_week, gap_hours=found.gap_hours,
        denials_a_day=None if expected is None else Interval(expected.low, expected.expected, expected.high),
        unseen_edges_at_least=found.unseen_edges_at_least, completeness=found.completeness,
        seen_once=[_edge(edge) for edge in found.seen_once], weekly=[_edge(edge) for edge in found.weekly],
        missing=[Missing(str(lack.lack), lack.text) for lack in found.missing],
        blocking=[] if blocking is None else [Missing(str(lack.lack), lack.text) for lack in blocking.reasons],
    )  # fmt: skip


def _edge(edge: EdgeKey) -> UsedEdge:
    return UsedEdge(edge.source, edge.destination, edge.port, edge.protocol, edge.method, edge.path)
