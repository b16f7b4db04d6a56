"""The forms of a service's page: its mode, and its way to enforce in stages. Decides nothing: the gate and `workflow` do."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import flask
from msgspec import Meta, Struct

from controlplane.api import outcomes
from controlplane.api.requests import ModeName
from controlplane.policy.roles import Role
from controlplane.policy.rollouts import Plan
from controlplane.policy.rules import Mode
from controlplane.web.forms import read_form
from controlplane.web.guard import Console, require, who
from controlplane.web.services import service_at
from controlplane.workflow.revisions import Refused
from controlplane.workflow.rollouts import Rollouts

_GATE_REMEDY = "see the readiness of the service; to enforce all the same, give a reason"
_Comment = Annotated[str, Meta(max_length=1000)]


class ModeForm(Struct, frozen=True, forbid_unknown_fields=True):
    """Another mode; ``override`` is why it is enforced although it is not ready."""

    mode: ModeName
    comment: _Comment = ""
    override: _Comment = ""


class ReleaseForm(Struct, frozen=True, forbid_unknown_fields=True):
    """The end of a quarantine."""

    comment: _Comment = ""


class RolloutForm(Struct, frozen=True, forbid_unknown_fields=True):
    """How carefully, as the API's `RolloutBody`."""

    share_percent: Annotated[int, Meta(ge=1, le=99)] = 20
    hold_seconds: Annotated[int, Meta(ge=1, le=86_400)] = 60
    max_denials: Annotated[int, Meta(ge=0, le=1_000_000)] = 0
    comment: _Comment = ""
    override: _Comment = ""


def blueprint(console: Console) -> flask.Blueprint:
    """The forms' addresses."""
    routes = flask.Blueprint("enforcing", __name__)
    api = console.api
    driver = Rollouts(api.store, api.publisher, api.review.modes, api.clock_ms)

    @routes.post("/services/<namespace>/<name>/mode")
    def set_mode(namespace: str, name: str) -> flask.typing.ResponseReturnValue:
        service, form = service_at(console, namespace, name), read_form(ModeForm)
        if Mode(form.mode) is not Mode.QUARANTINE:
            require(Role.APPROVER)
        actor = who(flask.g.session)
        outcomes.done(api.review.modes.change([service.name], Mode(form.mode), actor, form.comment, form.override), _GATE_REMEDY)
        return flask.redirect(flask.url_for("services.one", namespace=namespace, name=name), HTTPStatus.SEE_OTHER)

    @routes.post("/services/<namespace>/<name>/release")
    def release(namespace: str, name: str) -> flask.typing.ResponseReturnValue:
        service, form = service_at(console, namespace, name), read_form(ReleaseForm)
        outcomes.done(api.review.modes.release(service.name, who(flask.g.session), form.comment), "see the mode of the service")
        return flask.redirect(flask.url_for("services.one", namespace=namespace, name=name), HTTPStatus.SEE_OTHER)

    @routes.post("/services/<namespace>/<name>/rollout")
    def roll_out(namespace: str, name: str) -> flask.typing.ResponseReturnValue:
        service, form = service_at(console, namespace, name), read_form(RolloutForm)
        plan = Plan(form.share_percent, form.hold_seconds, form.max_denials)
        outcome = driver.start([service.name], plan, who(flask.g.session), form.comment, form.override)
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, _GATE_REMEDY)
        return flask.redirect(flask.url_for("rollouts.several"), HTTPStatus.SEE_OTHER)

    return routes
