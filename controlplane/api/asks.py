"""`/api/v1/asks`: edges that somebody needs and nobody has approved yet."""

from __future__ import annotations

import flask

from controlplane.api import outcomes, shapes
from controlplane.api.access import actor
from controlplane.api.names import destination_named, note_on_source, rule_named
from controlplane.api.paging import number_of, page
from controlplane.api.reading import read_body, read_query, write
from controlplane.api.requests import AskBody, AsksQuery
from controlplane.api.review_schemas import Ask, Asked, Asks
from controlplane.api.services import ApiServices
from controlplane.policy import asks
from controlplane.workflow.asking import Asking
from controlplane.workflow.revisions import Done, Refused


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("asks", __name__)
    asking = Asking(services.store, services.publisher, services.clock_ms)

    @routes.get("/asks")
    def several() -> flask.Response:
        query = read_query(AsksQuery)
        found = services.store.asks(query.limit + 1, number_of(query.cursor) or 0)
        shown, cursor = page(found, query.limit, lambda ask: ask.id)
        return write(Asks([_ask(ask) for ask in shown], cursor))

    @routes.post("/asks")
    def ask() -> flask.Response:
        body = read_body(AskBody)
        topology = services.publisher.topology
        service = destination_named(topology, body.destination, "body.destination")
        outcome = asking.ask(service, rule_named(topology, body), body.protocol, actor(), body.reason, body.link, again=body.again)
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, "talk to whoever decided; send again: true to ask once more")
        if isinstance(outcome, Done):
            return write(Asked("approved", None))
        state = "asked" if outcome.is_new else "waiting"
        return write(Asked(state, _ask(outcome.ask), note_on_source(topology, outcome.ask.rule)))

    return routes


def _ask(ask: asks.Ask) -> Ask:
    return Ask(
        id=ask.id, source=str(ask.rule.source), destination=str(ask.service), port=ask.rule.port,
        http=shapes.http(ask.rule.http), protocol=ask.protocol, actor=ask.actor,
        reason=ask.reason, link=ask.link, created_ms=ask.created_ms,
    )  # fmt: skip
