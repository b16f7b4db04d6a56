"""`/healthz`, `/readyz` and `/metrics`."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api.reading import write
from controlplane.api.schemas import Health
from controlplane.api.services import ApiServices


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("health", __name__)

    @routes.get("/healthz")
    def live() -> flask.Response:
        report = services.health()
        return _answer(report.live, () if report.live else report.reasons)

    @routes.get("/readyz")
    def ready() -> flask.Response:
        report = services.health()
        return _answer(report.ready, report.reasons)

    @routes.get("/metrics")
    def metrics() -> flask.Response:
        return flask.Response(services.metrics(), content_type="text/plain; version=1.0.0; charset=utf-8")

    return routes


def _answer(fine: bool, reasons: tuple[str, ...]) -> flask.Response:  # noqa: FBT001  # the answer itself
    return write(Health("ok" if fine else "failing", list(reasons)), HTTPStatus.OK if fine else HTTPStatus.SERVICE_UNAVAILABLE)
