"""The first page: services by mode, sidecars that need a look, what waits for review, blocked connections of the last day."""

from __future__ import annotations

from collections import Counter

import flask

from controlplane.api import shapes
from controlplane.flows.model import Verdict
from controlplane.graph.evidence import DAY_MS
from controlplane.graph.proposal import load_proposal
from controlplane.policy.rules import Mode
from controlplane.store.interface import ViolationFilter
from controlplane.web.guard import Console

#: A certificate that lives on for less should have been renewed by now.
NEAR_EXPIRY_MS = 5 * 60_000


def blueprint(console: Console) -> flask.Blueprint:
    """The page."""
    routes = flask.Blueprint("overview", __name__)

    @routes.get("/")
    def show() -> str:
        api = console.api
        now_ms = api.clock_ms()
        policy = api.publisher.policy
        modes = Counter(policy.mode(name) for name in api.publisher.declared.services)
        sidecars = [shapes.sidecar(row) for row in api.store.sidecars()]
        looks = [s for s in sidecars if s.state != "ack" or s.blind_since_ms is not None]
        expiring = [
            s for s in sidecars
            if s.connected and s.certificate_not_after_ms is not None and s.certificate_not_after_ms - now_ms < NEAR_EXPIRY_MS
        ]  # fmt: skip
        proposal = api.review.refresh_proposal()
        rows = load_proposal(proposal.document) if proposal is not None else ()
        counts = {
            verdict: api.store.count_violations(ViolationFilter(since_ms=max(now_ms - DAY_MS, 1), verdict=verdict)).total
            for verdict in (Verdict.DENIED, Verdict.WOULD_DENY)
        }
        return flask.render_template(
            "overview.html", modes=[(mode, modes[mode]) for mode in Mode], sidecars=sidecars, looks=looks, expiring=expiring,
            proposal=proposal, rows=rows, odd=sum(bool(row.marks) for row in rows), counts=counts, revision=policy.revision,
        )  # fmt: skip

    return routes
