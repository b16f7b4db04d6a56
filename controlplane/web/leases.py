"""The form of a service's page that sets the lease of an approved edge to it. Decides nothing: `workflow` does."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import flask
from msgspec import Meta, Struct

from controlplane.api import outcomes
from controlplane.graph.evidence import DAY_MS
from controlplane.policy.leases import from_ms
from controlplane.policy.traffic_policy import Lease
from controlplane.web.forms import Days, read_form
from controlplane.web.guard import Console, who
from controlplane.web.services import service_at

_Line = Annotated[str, Meta(max_length=300)]
_Text = Annotated[str, Meta(max_length=1000)]


class LeaseForm(Struct, frozen=True, forbid_unknown_fields=True):
    """Which edge to the service, who answers for it and why; ``days`` from now, empty for no end."""

    source: _Line
    port: Annotated[int, Meta(ge=1, le=65535)]
    reason: Annotated[_Text, Meta(min_length=1)]
    owner: _Line = ""
    ticket: _Text = ""
    days: Days = ""


def blueprint(console: Console) -> flask.Blueprint:
    """The form's address."""
    routes = flask.Blueprint("leases", __name__)
    api = console.api

    @routes.post("/services/<namespace>/<name>/lease")
    def renew(namespace: str, name: str) -> flask.typing.ResponseReturnValue:
        service, form = service_at(console, namespace, name), read_form(LeaseForm)
        expires_ms = expiry_ms(form.days, api.clock_ms())
        lease = Lease(form.owner, form.reason, form.ticket, None if expires_ms is None else from_ms(expires_ms))
        outcome = api.review.leases.renew(service.name, form.source, form.port, lease, who(flask.g.session))
        outcomes.done(outcome, "see who may call the service")
        return flask.redirect(flask.url_for("services.one", namespace=namespace, name=name), HTTPStatus.SEE_OTHER)

    return routes


def expiry_ms(days: str, now_ms: int) -> int | None:
    """When so many days from now are over; ``None`` for no end."""
    return now_ms + int(days) * DAY_MS if days else None
