"""What a choice of a proposal's rows would do, before anybody publishes it. The choice stands in the address; writes nothing."""

from __future__ import annotations

from collections.abc import Collection
from http import HTTPStatus

import flask

from controlplane.api import outcomes, proposal_shapes
from controlplane.graph.evidence import DAY_MS, HOUR_MS
from controlplane.graph.proposal import load_proposal
from controlplane.graph.replay import Replay, replay
from controlplane.graph.roles import Roles
from controlplane.policy.roles import Role
from controlplane.store.stored import StoredProposal
from controlplane.web.choice import write_rows
from controlplane.web.guard import Console, may, who
from controlplane.web.review import DECIDABLE, ROWS_REMEDY, chosen_rows, groups_of, readiness_of, stored_proposal
from controlplane.workflow.proposing import OPEN
from controlplane.workflow.revisions import Refused

#: The days of use that a choice is held against.
DAYS = 7
#: Flows (an edge in an hour) that are replayed, the newest: somebody waits for the page.
MAX_FLOWS = 200_000
#: Edges and services that the page shows; the counts are of all.
SHOWN = 25


def blueprint(console: Console) -> flask.Blueprint:
    """The page."""
    routes = flask.Blueprint("check", __name__)
    api = console.api

    @routes.get("/review/<number>/check")
    def show(number: str) -> flask.typing.ResponseReturnValue:
        chosen = chosen_rows()
        rows = write_rows(chosen)
        if flask.request.args.getlist("rows") != [rows]:  # the form says each by itself: an address to share is shorter
            return flask.redirect(flask.url_for("check.show", number=number, rows=rows), HTTPStatus.SEE_OTHER)
        stored = stored_proposal(console, number)
        rows_of = load_proposal(stored.document)
        standing = api.review.agreement.standing(rows_of, who(flask.g.session))
        listed = proposal_shapes.proposal(stored, rows_of, {}, Roles({}, {}), standing).edges
        wanted = [edge for edge in listed if edge.row in chosen]
        found = api.review.preview(stored.number, api.clock_ms() - DAYS * DAY_MS, chosen)
        if isinstance(found, Refused):
            raise outcomes.refusal(found, ROWS_REMEDY)
        replayed, is_cut = _replayed(stored, chosen)
        return flask.render_template(
            "check.html", proposal=stored, total=len(listed), groups=groups_of(wanted), rows=rows, count=len(wanted),
            odd=sum(bool(edge.marks) for edge in wanted), preview=found, replayed=replayed, is_cut=is_cut, days=DAYS, shown=SHOWN,
            ready=readiness_of(console, wanted), is_decidable=stored.status in DECIDABLE, is_open=stored.status == OPEN,
            may_override=may(Role.ADMIN),
        )  # fmt: skip

    def _replayed(stored: StoredProposal, chosen: Collection[int]) -> tuple[Replay, bool]:
        """The replay, and whether older flows were left out."""
        candidate = api.review.candidate(stored.number, chosen)
        if isinstance(candidate, Refused):
            raise outcomes.refusal(candidate, ROWS_REMEDY)
        flows = api.store.history(api.clock_ms() // HOUR_MS - DAYS * 24, MAX_FLOWS + 1)
        return replay(candidate, flows[:MAX_FLOWS]), len(flows) > MAX_FLOWS

    return routes
