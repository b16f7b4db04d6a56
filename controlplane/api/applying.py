"""`/api/v1/policy/apply`: puts `TrafficPolicy` files into force."""

from __future__ import annotations

import flask

from controlplane.api import outcomes
from controlplane.api.access import actor, require
from controlplane.api.reading import read_body, write
from controlplane.api.requests import ApplyBody
from controlplane.api.services import ApiServices
from controlplane.api.written import documents_of
from controlplane.policy.roles import Role
from controlplane.workflow.revisions import Done

_REMEDY = "compare the files with what is in force"


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("applying", __name__)

    @routes.post("/policy/apply")
    def apply() -> flask.Response:
        body = read_body(ApplyBody)
        if body.override_review:
            require(Role.ADMIN)
        outcome = services.review.documents.apply(
            documents_of(body.files), actor(), body.comment, prune=body.prune, expected=body.expected,
            override_reason=body.override, override_review=body.override_review, plan=body.plan,
        )  # fmt: skip
        if isinstance(outcome, Done):
            return write(outcomes.done(outcome, _REMEDY))
        return write(outcomes.published(outcome, _REMEDY))

    return routes
