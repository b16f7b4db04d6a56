"""The first page: services by mode, what waits for review, incidents, sidecars that need a look, blocked connections of a day."""

from __future__ import annotations

from collections import Counter

import flask

from controlplane.api import shapes
from controlplane.graph.evidence import DAY_MS
from controlplane.graph.proposal import load_proposal
from controlplane.policy.proofs import Status
from controlplane.policy.rules import Mode
from controlplane.store.stored import ViolationFilter
from controlplane.violations.histogram import histogram
from controlplane.violations.line import write
from controlplane.violations.query import Query
from controlplane.web import bars
from controlplane.web.guard import Console
from controlplane.web.sidecars import STATES
from controlplane.workflow.revisions import Refused

#: A certificate that lives on for less should have been renewed by now.
NEAR_EXPIRY_MS = 5 * 60_000
#: More are told as so many or more.
MAX_LISTED = 100
#: Of those whose pods lack a sidecar the first are named; the page of sidecars names more.
MAX_OWNED = 10


def blueprint(console: Console) -> flask.Blueprint:
    """The page."""
    routes = flask.Blueprint("overview", __name__)

    @routes.get("/")
    def show() -> str:
        api = console.api
        now_ms = api.clock_ms()
        policy = api.publisher.policy
        modes = Counter(policy.mode(name) for name in api.publisher.declared.services)
        sidecars = [shapes.sidecar(row, now_ms) for row in api.store.sidecars()]
        looks = [s for s in sidecars if s.state != "ack" or s.blind_since_ms is not None]
        expiring = [
            s for s in sidecars
            if s.connected and s.certificate_not_after_ms is not None and s.certificate_not_after_ms - now_ms < NEAR_EXPIRY_MS
        ]  # fmt: skip
        proposal = api.review.refresh_proposal()
        rows = load_proposal(proposal.document) if proposal is not None else ()
        since_ms = max(now_ms - DAY_MS, 1)
        counted = api.store.count_violations(ViolationFilter(since_ms=since_ms))
        drawn = histogram(counted.points, counted.width_ms, since_ms, now_ms)
        states = Counter(sidecar.state for sidecar in sidecars)
        states["blind"] = sum(sidecar.blind_since_ms is not None for sidecar in sidecars)
        proofs = sorted(api.store.newest_proofs(), key=lambda proof: proof.target)
        gaps, objects, authority = api.gaps(), api.objects(), api.authority()
        differing = [standing for standing in objects if standing.needs_a_look]
        failed = [proof for proof in proofs if proof.status is Status.FAILED]
        return flask.render_template(
            "overview.html", modes=[(mode, modes[mode]) for mode in Mode], sidecars=sidecars, looks=looks, expiring=expiring,
            proposal=proposal, rows=rows, odd=sum(bool(row.marks) for row in rows), revision=policy.revision, states=states,
            named=STATES, denied=sum(part.denied for part in drawn.bins), would_deny=sum(part.would_deny for part in drawn.bins),
            drawn=drawn, bars=list(bars.bars(drawn, _address)), box=(bars.WIDTH, bars.HEIGHT),
            incidents=api.store.incidents(MAX_LISTED, is_open=True),
            rollouts=api.store.rollouts(MAX_LISTED, running=True),
            bound=MAX_LISTED, proved=shapes.proved(proofs), failed=failed, gaps=gaps, owned=gaps.by_owner(), most_owned=MAX_OWNED,
            rotating=not isinstance(authority, Refused) and len(authority.generations.roots) > 1,
            objects=objects, differing=differing[:MAX_LISTED], differ=len(differing),
        )  # fmt: skip

    return routes


def _address(since_ms: int, until_ms: int) -> str:
    return flask.url_for("blocked.several", q=write(Query(since_ms=since_ms, until_ms=until_ms)))
