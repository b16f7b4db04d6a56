"""`/api/v1/policy/apply`: puts `TrafficPolicy` files into force."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import outcomes
from controlplane.api.access import actor, require
from controlplane.api.imports import MAX_BODY_BYTES
from controlplane.api.problems import problem
from controlplane.api.reading import read_body, write
from controlplane.api.requests import ApplyBody
from controlplane.api.services import ApiServices
from controlplane.policy.findings import Severity
from controlplane.policy.roles import Role
from controlplane.policy.traffic_documents import read_documents
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.workflow.revisions import Done

_REMEDY = "compare the files with what is in force"


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("applying", __name__)

    @routes.post("/policy/apply")
    def apply() -> flask.Response:
        flask.request.max_content_length = MAX_BODY_BYTES
        body = read_body(ApplyBody)
        if body.override_review:
            require(Role.ADMIN)
        outcome = services.review.apply(
            _documents(body), actor(), body.comment, prune=body.prune, expected=body.expected, override_reason=body.override,
            override_review=body.override_review,
        )  # fmt: skip
        if isinstance(outcome, Done):
            return write(outcomes.done(outcome, _REMEDY))
        return write(outcomes.published(outcome, _REMEDY))

    return routes


def _documents(body: ApplyBody) -> list[TrafficPolicy]:
    """All of them, or a problem that names the first mistake."""
    found: list[TrafficPolicy] = []
    for file in body.files:
        reading = read_documents(file.text.encode(), file.name)
        wrong = next((finding for finding in reading.findings if finding.severity is Severity.ERROR), None)
        if wrong is not None:
            detail = f"{wrong.place}: {wrong.message}"
            raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, where="body.files", remedy=wrong.remedy)
        found += reading.documents
    if not found:
        detail = "there is no TrafficPolicy document in the files"
        raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", detail, where="body.files")
    return found
