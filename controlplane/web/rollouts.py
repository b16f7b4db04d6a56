"""Staged rollouts: how far each is, which sidecars have it, and the way back. Starts none: `enforcing` and `review` do."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import flask

from controlplane.api import outcomes, shapes
from controlplane.api.reading import read_number
from controlplane.policy.rollouts import Rollout, Status
from controlplane.store.stored import SidecarRow
from controlplane.web.guard import Console, who
from controlplane.workflow.rollouts import Rollouts

LISTED = 100


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("rollouts", __name__)
    api = console.api
    driver = Rollouts(api.store, api.publisher, api.review.modes, api.clock_ms)

    @routes.get("/rollouts")
    def several() -> str:
        found = api.store.rollouts(LISTED, running=False)
        is_running = any(rollout.status is Status.RUNNING for rollout in found)
        rows = api.store.sidecars() if is_running else ()
        return flask.render_template("rollouts.html", rollouts=[(one, *_taken(one, rows)) for one in found], is_running=is_running)

    @routes.post("/rollouts/<number>/return")
    def go_back(number: str) -> flask.typing.ResponseReturnValue:
        wanted = read_number(number, "rollout")
        outcomes.done(driver.roll_back(wanted, who(flask.g.session)), "look at the rollouts")
        return flask.redirect(flask.url_for("rollouts.several"), HTTPStatus.SEE_OTHER)

    return routes


def _taken(rollout: Rollout, rows: Sequence[SidecarRow]) -> tuple[int, int, int]:
    """Of the service's connected sidecars: in the stage, in the stage and running what they were sent, all."""
    own = [row for row in rows if row.workload == str(rollout.service) and row.connected]
    inside = [row for row in own if rollout.includes(row.instance)]
    return len(inside), sum(shapes.sidecar_state(row) == "ack" for row in inside), len(own)
