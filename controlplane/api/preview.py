"""`/api/v1/preview` and `/api/v1/proposals/N/preview`: what enforcement, or an approval, would do."""

from __future__ import annotations

import flask

from controlplane.api import outcomes
from controlplane.api.proposal_schemas import DeniedEdge, Preview, ReachChange
from controlplane.api.reading import read_number, read_query, write
from controlplane.api.requests import PreviewQuery
from controlplane.api.schemas import HttpMatch
from controlplane.api.services import ApiServices
from controlplane.graph import preview, reach
from controlplane.graph.chart import deciding_mode
from controlplane.policy.rules import Policy
from controlplane.workflow.revisions import Refused

_DAY_MS = 86_400_000
_REMEDY = "list proposals, and look at the open one"


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("preview", __name__)

    @routes.get("/preview")
    def in_force() -> flask.Response:
        return _answer(services, None)

    @routes.get("/proposals/<number>/preview")
    def of_proposal(number: str) -> flask.Response:
        return _answer(services, read_number(number, "proposal"))

    return routes


def _answer(services: ApiServices, number: int | None) -> flask.Response:
    query = read_query(PreviewQuery)
    found = services.review.preview(number, services.clock_ms() - query.days * _DAY_MS, query.chosen)
    if isinstance(found, Refused):
        raise outcomes.refusal(found, _REMEDY)
    policy = services.publisher.policy
    denied = [_denied(one, policy) for one in found.denied]
    return write(Preview(days=query.days, edges=found.edges, denied=denied, reach=[_reach(change) for change in found.reach]))


def _denied(found: preview.DeniedEdge, policy: Policy) -> DeniedEdge:
    edge = found.edge
    return DeniedEdge(
        source=edge.source, destination=edge.destination, port=edge.port, protocol=edge.protocol,
        http=[HttpMatch(match.method, match.path) for match in found.missing if match.method or match.path],
        count=edge.count, first_seen_ms=edge.first_seen_ms, last_seen_ms=edge.last_seen_ms,
        mode=str(deciding_mode(policy, edge.source, edge.destination)),
    )  # fmt: skip


def _reach(change: reach.ReachChange) -> ReachChange:
    return ReachChange(
        service=change.target, before=change.before, after=change.after, gained_count=change.gained_count,
        lost_count=change.lost_count, gained=list(change.gained), lost=list(change.lost), text=change.text,
    )  # fmt: skip
