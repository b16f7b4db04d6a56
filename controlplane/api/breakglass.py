"""`/api/v1/break-glass`: edges that are allowed for a time."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import outcomes
from controlplane.api.access import actor
from controlplane.api.names import destination_named, end_named
from controlplane.api.problems import problem
from controlplane.api.reading import read_body, read_number, read_query, write
from controlplane.api.requests import GrantBody, Nothing, OpenQuery
from controlplane.api.schemas import Grant, Granted, Grants, HttpMatch
from controlplane.api.services import ApiServices
from controlplane.policy import grants
from controlplane.policy.documents import parse_source
from controlplane.policy.rules import HttpMatch as Match
from controlplane.policy.rules import Rule
from controlplane.topology.model import Topology
from controlplane.workflow.breakglass import BreakGlass
from controlplane.workflow.revisions import Refused

_REMEDY = "list the open exceptions"


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("break-glass", __name__)
    breakglass = BreakGlass(services.store, services.publisher, services.clock_ms)

    @routes.get("/break-glass")
    def several() -> flask.Response:
        query = read_query(OpenQuery)
        found = services.store.grants(query.limit, active=not query.all)
        return write(Grants([_grant(grant) for grant in found]))

    @routes.post("/break-glass")
    def begin() -> flask.Response:
        body = read_body(GrantBody)
        topology = services.publisher.topology
        service = destination_named(topology, body.destination, "body.destination")
        outcome = breakglass.grant(service, _rule(body, topology), body.seconds, body.reason, body.ticket, actor())
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, _REMEDY)
        grant, published = outcome
        return write(Granted(_grant(grant), published.revision))

    @routes.post("/break-glass/<number>/end")
    def end(number: str) -> flask.Response:
        read_body(Nothing)
        return write(outcomes.published(breakglass.end(read_number(number, "exception"), actor()), _REMEDY))

    return routes


def _rule(body: GrantBody, topology: Topology) -> Rule:
    try:
        return Rule(parse_source(end_named(topology, body.source)), body.port, tuple(Match(m.method, m.path) for m in body.http))
    except ValueError as error:
        raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", str(error), where="body") from error


def _grant(grant: grants.Grant) -> Grant:
    return Grant(
        id=grant.id, source=str(grant.rule.source), destination=str(grant.service), port=grant.rule.port,
        http=[HttpMatch(match.method, match.path) for match in grant.rule.http], reason=grant.reason, ticket=grant.ticket,
        actor=grant.actor, created_ms=grant.created_ms, expires_ms=grant.expires_ms, ended_ms=grant.ended_ms,
        ended_by=grant.ended_by,
    )  # fmt: skip
