"""`/api/v1/sinks`: where violations and incidents go, and whether they arrive. Shows no path of an address: it may be a secret."""

from __future__ import annotations

from dataclasses import asdict

import flask

from controlplane.api.reading import read_query, write
from controlplane.api.requests import Nothing
from controlplane.api.schemas import Sink, Sinks
from controlplane.api.services import ApiServices


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The route."""
    routes = flask.Blueprint("sinks", __name__)

    @routes.get("/sinks")
    def several() -> flask.Response:
        read_query(Nothing)
        return write(Sinks([Sink(state=one.state, **asdict(one)) for one in services.sinks()]))

    return routes
