"""`/api/v1/tokens`: join tokens, each for one workload and one use."""

from __future__ import annotations

from http import HTTPStatus

import flask
import msgspec

from controlplane.api import outcomes
from controlplane.api.access import actor
from controlplane.api.names import service_named
from controlplane.api.problems import problem
from controlplane.api.reading import read_body
from controlplane.api.requests import TokenBody
from controlplane.api.services import ApiServices
from controlplane.workflow.revisions import Refused


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes. The answer is the join document itself, which holds the token: it is shown once and never stored."""
    routes = flask.Blueprint("tokens", __name__)

    @routes.post("/tokens")
    def create() -> flask.Response:
        body = read_body(TokenBody)
        topology = services.publisher.topology
        workload = str(topology.services[service_named(topology, body.workload, "body.workload")].workload)
        try:
            document = services.new_join_token(workload, body.lifetime_seconds, actor())
        except ValueError as error:
            remedy = "name a service in the mesh"
            raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", str(error), where="body.workload", remedy=remedy) from error
        if isinstance(document, Refused):
            raise outcomes.refusal(document, "register the workload where the mesh has its identities from")
        return flask.Response(msgspec.json.encode(document), int(HTTPStatus.CREATED), content_type="application/json")

    return routes
