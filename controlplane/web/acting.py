"""What a person does about the edge of a violation: propose it, or allow it for a time. Decides nothing: `workflow` does."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import flask
from msgspec import Meta, Struct

from controlplane.api import outcomes
from controlplane.api.asked import violation_numbered
from controlplane.api.names import destination_named, rule_named
from controlplane.api.requests import AskBody, GrantBody, MatchBody
from controlplane.flows.model import Violation
from controlplane.web.forms import read_form
from controlplane.web.guard import Console, who
from controlplane.workflow.asking import Asking
from controlplane.workflow.breakglass import BreakGlass
from controlplane.workflow.revisions import Refused

_Reason = Annotated[str, Meta(min_length=1, max_length=1000)]
_Method = Annotated[str, Meta(max_length=64)]
_Path = Annotated[str, Meta(max_length=1024)]


class ProposeForm(Struct, frozen=True, forbid_unknown_fields=True):
    """The edge of a violation; method and path may be wider than what was seen, and empty means any."""

    reason: _Reason
    method: _Method = ""
    path: _Path = ""


class AllowForm(Struct, frozen=True, forbid_unknown_fields=True):
    """The same for so many ``minutes``."""

    reason: _Reason
    minutes: Annotated[int, Meta(ge=1, le=1_440)] = 60
    method: _Method = ""
    path: _Path = ""
    ticket: Annotated[str, Meta(max_length=300)] = ""


def blueprint(console: Console) -> flask.Blueprint:
    """The forms' addresses."""
    routes = flask.Blueprint("acting", __name__)
    api = console.api
    asking = Asking(api.store, api.publisher, api.clock_ms)
    breakglass = BreakGlass(api.store, api.publisher, api.clock_ms)

    @routes.post("/blocked/<number>/propose")
    def propose(number: str) -> flask.typing.ResponseReturnValue:
        violation, form = violation_numbered(api.store, number), read_form(ProposeForm)
        edge, http = violation.edge, _matches(form.method, form.path)
        body = AskBody(
            source=edge.source, destination=edge.destination, port=edge.port, http=http, protocol=edge.protocol, reason=form.reason
        )
        topology = api.publisher.topology
        service = destination_named(topology, edge.destination, "violation")
        outcome = asking.ask(service, rule_named(topology, body), edge.protocol, who(flask.g.session), form.reason)
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, "talk to whoever decided")
        return _back(violation)

    @routes.post("/blocked/<number>/allow")
    def allow(number: str) -> flask.typing.ResponseReturnValue:
        violation, form = violation_numbered(api.store, number), read_form(AllowForm)
        edge, http, seconds = violation.edge, _matches(form.method, form.path), form.minutes * 60
        body = GrantBody(
            source=edge.source, destination=edge.destination, port=edge.port, http=http, seconds=seconds, reason=form.reason
        )
        topology = api.publisher.topology
        service = destination_named(topology, edge.destination, "violation")
        actor = who(flask.g.session)
        outcome = breakglass.grant(service, rule_named(topology, body), seconds, form.reason, form.ticket, actor)
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, "look at the open exceptions: picket break-glass list")
        return _back(violation)

    return routes


def _matches(method: str, path: str) -> list[MatchBody]:
    return [MatchBody(method.strip(), path.strip())] if method.strip() or path.strip() else []


def _back(violation: Violation) -> flask.typing.ResponseReturnValue:
    return flask.redirect(flask.url_for("blocked.one", number=violation.id), HTTPStatus.SEE_OTHER)
