"""`/api/v1/modes`: what becomes of flows that no rule allows, per destination service."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import outcomes
from controlplane.api.access import actor, require
from controlplane.api.names import service_named
from controlplane.api.problems import problem
from controlplane.api.reading import read_body, read_query, write
from controlplane.api.requests import ModesBody, Nothing, ReleaseBody
from controlplane.api.schemas import Modes, ServiceMode
from controlplane.api.services import ApiServices
from controlplane.policy.roles import Role
from controlplane.policy.rules import Mode
from controlplane.topology.model import ServiceName


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("modes", __name__)

    @routes.get("/modes")
    def show() -> flask.Response:
        read_query(Nothing)
        now = services.publisher.in_force
        policy = now.policy
        names = sorted({*now.topology.services, *policy.modes})
        listed = [ServiceMode(str(name), str(policy.mode(name)), name not in policy.modes) for name in names]
        return write(Modes(str(policy.default_mode), listed))

    @routes.put("/modes")
    def change() -> flask.Response:
        body = read_body(ModesBody)
        if Mode(body.mode) is not Mode.QUARANTINE or body.all:  # a responder cuts off services by name, not the whole mesh
            require(Role.APPROVER)
        names = _names(services, body)
        outcome = services.review.modes.change(names, Mode(body.mode), actor(), body.comment, body.override)
        return write(outcomes.done(outcome, "see the readiness of services; to enforce all the same, send a reason as override"))

    @routes.post("/modes/release")
    def release() -> flask.Response:
        body = read_body(ReleaseBody)
        service = service_named(services.publisher.topology, body.service, "body.service")
        outcome = services.review.modes.release(service, actor(), body.comment)
        return write(outcomes.done(outcome, "see the modes of services"))

    return routes


def _names(services: ApiServices, body: ModesBody) -> list[ServiceName]:
    if body.all == (body.services is not None):
        raise problem(
            HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", "either services or all is wanted",
            where="body", remedy='send {"services": [...]} or {"all": true}',
        )  # fmt: skip
    if body.services is None:
        # A host that only a rule names follows its source's mode: setting one for it would outlive the rule.
        return sorted(services.publisher.declared.services)
    topology = services.publisher.topology
    names = [service_named(topology, text, f"body.services[{index}]") for index, text in enumerate(body.services)]
    return list(dict.fromkeys(names))
