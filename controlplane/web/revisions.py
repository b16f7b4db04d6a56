"""One policy revision: who made it, what it changed, how many sidecars have it, and the way back. Writes only by the way back."""

from __future__ import annotations

from collections import Counter
from http import HTTPStatus
from typing import Annotated

import flask
from msgspec import Meta, Struct

from controlplane.api import outcomes, shapes
from controlplane.api.problems import problem
from controlplane.api.reading import read_number
from controlplane.policy.diff import RuleChange, diff
from controlplane.policy.documents import load_policy
from controlplane.policy.rules import Policy
from controlplane.topology.model import ServiceName
from controlplane.web.forms import read_form
from controlplane.web.guard import Console, who

#: Older ones are found through the pages of proposals and the audit log.
LISTED = 100
_REMEDY = "look at the list of revisions"


class Return(Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    comment: Annotated[str, Meta(max_length=1000)] = ""


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("revisions", __name__)
    api = console.api

    @routes.get("/revisions")
    def several() -> str:
        return flask.render_template(
            "revisions.html", revisions=api.store.revisions(LISTED), active=api.publisher.policy.revision, listed=LISTED
        )

    @routes.get("/revisions/<number>")
    def one(number: str) -> str:
        wanted = read_number(number, "revision")
        stored = api.store.revision(wanted)
        if stored is None:
            raise problem(HTTPStatus.NOT_FOUND, "missing", f"there is no revision {wanted}", where="path", remedy=_REMEDY)
        by_service: dict[ServiceName, list[RuleChange]] = {}
        for change in diff(_policy(wanted - 1), _policy(wanted)):
            by_service.setdefault(change.service, []).append(change)
        now_ms = api.clock_ms()
        sidecars = [shapes.sidecar(row, now_ms) for row in api.store.sidecars()]
        connected = [sidecar for sidecar in sidecars if sidecar.connected]
        states = Counter(sidecar.state for sidecar in connected)
        # One of a revision runs alone: the first tells of all.
        is_staged = any(rollout.revision == wanted for rollout in api.store.rollouts(1, running=True))
        return flask.render_template(
            "revision.html", revision=stored, services=by_service, active=api.publisher.policy.revision, is_staged=is_staged,
            connected=len(connected), states=states,
            refused=[sidecar for sidecar in connected if sidecar.nack], away=len(sidecars) - len(connected),
        )  # fmt: skip

    @routes.post("/revisions/<number>/return")
    def go_back(number: str) -> flask.typing.ResponseReturnValue:
        # 0 is the empty policy, from which the first revision was made.
        wanted = 0 if number == "0" else read_number(number, "revision")
        made = outcomes.published(api.review.rollback(wanted, who(flask.g.session), read_form(Return).comment), _REMEDY)
        return flask.redirect(flask.url_for("revisions.one", number=made.revision), HTTPStatus.SEE_OTHER)

    def _policy(number: int) -> Policy:
        current = api.publisher.policy
        stored = api.store.revision(number) if number else None
        if stored is None:
            return Policy(0, {}, current.modes, current.default_mode)
        return load_policy(stored.document, number, current.modes, current.default_mode)

    return routes
