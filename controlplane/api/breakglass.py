"""`/api/v1/break-glass`: edges that are allowed for a time."""

from __future__ import annotations

import flask

from controlplane.api import outcomes, shapes
from controlplane.api.access import actor
from controlplane.api.names import destination_named, note_on_source, rule_named
from controlplane.api.paging import number_of, page
from controlplane.api.reading import read_body, read_number, read_query, write
from controlplane.api.requests import GrantBody, Nothing, OpenQuery
from controlplane.api.review_schemas import Grant, Granted, Grants
from controlplane.api.services import ApiServices
from controlplane.policy import grants
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
        found = services.store.grants(query.limit + 1, number_of(query.cursor), active=not query.all)
        shown, cursor = page(found, query.limit, lambda grant: grant.id)
        return write(Grants([_grant(grant) for grant in shown], cursor))

    @routes.post("/break-glass")
    def begin() -> flask.Response:
        body = read_body(GrantBody)
        topology = services.publisher.topology
        service = destination_named(topology, body.destination, "body.destination")
        outcome = breakglass.grant(service, rule_named(topology, body), body.seconds, body.reason, body.ticket, actor())
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, _REMEDY)
        grant, published = outcome
        return write(Granted(_grant(grant), published.revision, note_on_source(topology, grant.rule)))

    @routes.post("/break-glass/<number>/end")
    def end(number: str) -> flask.Response:
        read_body(Nothing)
        return write(outcomes.published(breakglass.end(read_number(number, "exception"), actor()), _REMEDY))

    return routes


def _grant(grant: grants.Grant) -> Grant:
    return Grant(
        id=grant.id, source=str(grant.rule.source), destination=str(grant.service), port=grant.rule.port,
        http=shapes.http(grant.rule.http), reason=grant.reason, ticket=grant.ticket,
        actor=grant.actor, created_ms=grant.created_ms, expires_ms=grant.expires_ms, ended_ms=grant.ended_ms,
        ended_by=grant.ended_by,
    )  # fmt: skip
