"""`/api/v1/asks`: edges that somebody needs and nobody has approved yet."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import outcomes
from controlplane.api.access import actor
from controlplane.api.names import destination_named, end_named
from controlplane.api.problems import problem
from controlplane.api.reading import read_body, read_query, write
from controlplane.api.requests import AskBody, Nothing
from controlplane.api.schemas import Ask, Asked, Asks, HttpMatch
from controlplane.api.services import ApiServices
from controlplane.policy import asks
from controlplane.policy.documents import parse_source
from controlplane.policy.rules import HttpMatch as Match
from controlplane.policy.rules import Rule
from controlplane.topology.model import Topology
from controlplane.workflow.asking import Asking
from controlplane.workflow.proposing import MAX_ASKS
from controlplane.workflow.revisions import Done, Refused


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("asks", __name__)
    asking = Asking(services.store, services.publisher, services.clock_ms)

    @routes.get("/asks")
    def several() -> flask.Response:
        read_query(Nothing)
        return write(Asks([_ask(ask) for ask in services.store.asks(MAX_ASKS)]))

    @routes.post("/asks")
    def ask() -> flask.Response:
        body = read_body(AskBody)
        topology = services.publisher.topology
        service = destination_named(topology, body.destination, "body.destination")
        known = {found.id for found in services.store.asks(MAX_ASKS)}
        outcome = asking.ask(service, _rule(body, topology), body.protocol, actor(), body.reason, body.link, again=body.again)
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, "talk to whoever decided; send again: true to ask once more")
        if isinstance(outcome, Done):
            return write(Asked("approved", None))
        return write(Asked("waiting" if outcome.id in known else "asked", _ask(outcome)))

    return routes


def _rule(body: AskBody, topology: Topology) -> Rule:
    try:
        return Rule(parse_source(end_named(topology, body.source)), body.port, tuple(Match(m.method, m.path) for m in body.http))
    except ValueError as error:
        raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", str(error), where="body") from error


def _ask(ask: asks.Ask) -> Ask:
    return Ask(
        id=ask.id, source=str(ask.rule.source), destination=str(ask.service), port=ask.rule.port,
        http=[HttpMatch(match.method, match.path) for match in ask.rule.http], protocol=ask.protocol, actor=ask.actor,
        reason=ask.reason, link=ask.link, created_ms=ask.created_ms,
    )  # fmt: skip
