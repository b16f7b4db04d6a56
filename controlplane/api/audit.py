"""`/api/v1/audit`: who did what to what."""

from __future__ import annotations

import flask

from controlplane.api import shapes
from controlplane.api.reading import read_query, write
from controlplane.api.requests import LimitQuery
from controlplane.api.schemas import Audit
from controlplane.api.services import ApiServices


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("audit", __name__)

    @routes.get("/audit")
    def several() -> flask.Response:
        return write(Audit([shapes.audit_event(row) for row in services.store.audit(read_query(LimitQuery).limit)]))

    return routes
