"""`/api/v1/authority`: the mesh's certificate authority, what its rotation waits for, and the steps that people take of it."""

from __future__ import annotations

from datetime import datetime

import flask
from cryptography import x509

from controlplane.api import outcomes
from controlplane.api.access import actor
from controlplane.api.reading import read_body, read_query, write
from controlplane.api.requests import Nothing, RotateBody
from controlplane.api.schemas import Authority, Root
from controlplane.api.services import ApiServices
from controlplane.identity.generations import Step, key_id
from controlplane.identity.schedule import Waits
from controlplane.workflow.revisions import Refused
from controlplane.workflow.rotation import Rotated


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("authority", __name__)

    @routes.get("/authority")
    def show() -> flask.Response:
        read_query(Nothing)
        found = services.authority()
        if isinstance(found, Refused):
            raise outcomes.refusal(found, "see it where it is kept")
        return write(authority(found))

    @routes.post("/authority/rotate")
    def rotate() -> flask.Response:
        body = read_body(RotateBody)
        outcome = services.rotate(Step(body.step), actor(), body.reason, now=body.now)
        if isinstance(outcome, Refused):
            raise outcomes.refusal(outcome, "see how far the rotation is")
        return write(authority(outcome))

    return routes


def authority(found: Rotated) -> Authority:
    """How it stands."""
    generations, waits = found.generations, found.next if isinstance(found.next, Waits) else None
    roots = [_root(generations.active.certificate, "active", generations.since)]
    if generations.prepared is not None:
        roots.append(_root(generations.prepared.authority.certificate, "prepared", generations.prepared.since))
    roots += [_root(old.certificate, "old", old.since, old.signed_until) for old in generations.old]
    return Authority(
        rotating=len(roots) > 1,
        roots=roots,
        next_step=str(found.next.step),
        next_ms=None if waits is None or waits.at is None else _ms(waits.at),
        waits_for="" if waits is None else waits.reason,
        connected=found.seen.connected,
        outdated=found.seen.outdated,
        showing=found.seen.showing(generations),
        late=list(found.seen.late),
        keeper=found.keeper,
    )


def _root(certificate: x509.Certificate, state: str, since: datetime, signed_until: datetime | None = None) -> Root:
    return Root(
        key_id(certificate), state, _ms(since), _ms(certificate.not_valid_before_utc), _ms(certificate.not_valid_after_utc),
        None if signed_until is None else _ms(signed_until),
    )  # fmt: skip


def _ms(moment: datetime) -> int:
    return int(moment.timestamp() * 1000)
