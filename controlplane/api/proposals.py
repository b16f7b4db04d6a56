"""`/api/v1/proposals`: what was learned and awaits review; approving and rejecting it."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import outcomes, proposal_shapes
from controlplane.api.access import actor, require
from controlplane.api.leases import lease_of
from controlplane.api.paging import number_of, page
from controlplane.api.problems import problem
from controlplane.api.proposal_schemas import Proposals
from controlplane.api.reading import read_body, read_number, read_query, write
from controlplane.api.requests import ApproveBody, CommentBody, Nothing, ProposalsQuery, RejectBody
from controlplane.api.services import ApiServices
from controlplane.graph.proposal import load_proposal
from controlplane.policy.roles import Role

_REMEDY = "list proposals, and review the open one"


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes. Reading brings the open proposal up to date first."""
    routes = flask.Blueprint("proposals", __name__)

    @routes.get("/proposals")
    def several() -> flask.Response:
        query = read_query(ProposalsQuery)
        services.review.refresh_proposal()
        found = services.store.proposals(query.status, query.limit + 1, number_of(query.cursor))
        shown, cursor = page(found, query.limit, lambda stored: stored.number)
        listed = [proposal_shapes.summary(stored, load_proposal(stored.document)) for stored in shown]
        return write(Proposals(listed, cursor))

    @routes.get("/proposals/<number>")
    def one(number: str) -> flask.Response:
        read_query(Nothing)
        services.review.refresh_proposal()
        wanted = read_number(number, "proposal")
        stored = services.store.proposal(wanted)
        if stored is None:
            raise problem(HTTPStatus.NOT_FOUND, "missing", f"there is no proposal {wanted}", where="path", remedy=_REMEDY)
        rows = load_proposal(stored.document)
        samples, roles = services.review.learning.samples([row.edge for row in rows])
        standing = services.review.agreement.standing(rows, actor())
        return write(proposal_shapes.proposal(stored, rows, samples, roles, standing))

    @routes.post("/proposals/<number>/approve")
    def approve(number: str) -> flask.Response:
        body = read_body(ApproveBody)
        rows = None if body.rows is None else frozenset(body.rows)
        lease = lease_of(body.owner, body.reason, body.ticket, body.expires_ms)
        if body.override_review:
            require(Role.ADMIN)
        wanted = read_number(number, "proposal")
        outcome = services.review.approve(wanted, actor(), body.comment, rows, lease, body.override_review, body.plan)
        return write(outcomes.approved(outcome, _REMEDY))

    @routes.post("/proposals/<number>/comments")
    def comment(number: str) -> flask.Response:
        body = read_body(CommentBody)
        outcome = services.review.agreement.comment(read_number(number, "proposal"), body.row, body.text, actor())
        return write(outcomes.done(outcome, _REMEDY))

    @routes.post("/proposals/<number>/reject")
    def reject(number: str) -> flask.Response:
        body = read_body(RejectBody)
        rows = None if body.rows is None else frozenset(body.rows)
        return write(outcomes.done(services.review.reject(read_number(number, "proposal"), actor(), body.comment, rows), _REMEDY))

    return routes
