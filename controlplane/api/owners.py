"""`/api/v1/owners`: who has to agree to edges toward which services, by the owners file as it is now."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api.problems import problem
from controlplane.api.proposal_schemas import OwnedServices, Ownership
from controlplane.api.reading import read_query, write
from controlplane.api.requests import Nothing
from controlplane.api.services import ApiServices
from controlplane.policy.owners import OwnersError


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The route."""
    routes = flask.Blueprint("owners", __name__)

    @routes.get("/owners")
    def show() -> flask.Response:
        read_query(Nothing)
        agreement = services.review.agreement
        try:
            owners = agreement.owners()
        except OwnersError as error:
            raise problem(HTTPStatus.CONFLICT, "conflict", str(error), remedy="mend the file that --owners names") from error
        known = sorted(str(name) for name in services.publisher.topology.services)
        by_line = owners.assigned(known)
        lines = [
            OwnedServices(line.line, line.pattern, list(line.owners), list(by_line.get(line.line, ()))) for line in owners.lines
        ]
        unowned = [name for name in known if not owners.of(name)]
        return write(Ownership(agreement.four_eyes, lines, unowned))

    return routes
