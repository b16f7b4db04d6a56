"""`/api/v1/replay`, `/proposals/N/replay` and `/policy/revisions/N/replay`: what a list would have done with stored flows.

`/replay` with files answers for the list that applying them would give; nothing is kept of them.
"""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import outcomes
from controlplane.api.problems import problem
from controlplane.api.reading import read_body, read_number, read_query, write
from controlplane.api.requests import PreviewQuery, ReplayBody, ReplayQuery
from controlplane.api.review_schemas import Hour, Refusal, Replay
from controlplane.api.services import ApiServices
from controlplane.api.written import documents_of
from controlplane.graph import replay
from controlplane.graph.evidence import HOUR_MS
from controlplane.policy.documents import load_policy
from controlplane.policy.rules import Policy
from controlplane.workflow.revisions import Refused

#: Flows (an edge in an hour) that one replay reads, the newest.
MAX_FLOWS = 1_000_000


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("replay", __name__)

    @routes.get("/replay")
    def in_force() -> flask.Response:
        return _answer(services, services.publisher.policy, read_query(ReplayQuery).days)

    @routes.post("/replay")
    def of_files() -> flask.Response:
        body = read_body(ReplayBody)
        candidate = services.review.documents.candidate(documents_of(body.files), prune=body.prune)
        if isinstance(candidate, Refused):
            raise outcomes.refusal(candidate, "compare the files with what is in force")
        return _answer(services, candidate.policy, body.days)

    @routes.get("/proposals/<number>/replay")
    def of_proposal(number: str) -> flask.Response:
        query = read_query(PreviewQuery)
        candidate = services.review.candidate(read_number(number, "proposal"), query.chosen)
        if isinstance(candidate, Refused):
            raise outcomes.refusal(candidate, "list proposals, and look at the open one")
        return _answer(services, candidate, query.days)

    @routes.get("/policy/revisions/<number>/replay")
    def of_revision(number: str) -> flask.Response:
        wanted = read_number(number, "revision")
        stored = services.store.revision(wanted)
        if stored is None:
            detail = f"there is no revision {wanted}"
            raise problem(HTTPStatus.NOT_FOUND, "missing", detail, where="path", remedy="list the revisions")
        current = services.publisher.policy
        policy = load_policy(stored.document, wanted, current.modes, current.default_mode)
        return _answer(services, policy, read_query(ReplayQuery).days)

    return routes


def _answer(services: ApiServices, policy: Policy, days: int) -> flask.Response:
    flows = services.store.history(services.clock_ms() // HOUR_MS - days * 24, MAX_FLOWS + 1)
    found = replay.replay(policy, flows[:MAX_FLOWS])
    return write(
        Replay(
            days=days, flows=found.flows, unread=found.unread, complete=len(flows) <= MAX_FLOWS,
            allowed=found.allowed, denied=found.denied,
            hours=[Hour(at_ms=one.hour * HOUR_MS, allowed=one.allowed, denied=one.denied) for one in found.hours],
            refusals=[_refusal(one) for one in found.refusals],
        )
    )  # fmt: skip


def _refusal(found: replay.Refusal) -> Refusal:
    return Refusal(
        **found.edge._asdict(), deny_id=found.deny_id, count=found.count, first_hour_ms=found.first_hour * HOUR_MS,
        last_hour_ms=found.last_hour * HOUR_MS, reported=str(found.reported),
    )  # fmt: skip
