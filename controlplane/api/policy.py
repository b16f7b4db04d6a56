"""`/api/v1/policy`: revisions, what differs between them, and rolling back."""

from __future__ import annotations

from collections.abc import Sequence
from http import HTTPStatus

import flask

from controlplane.api import outcomes, revisions, shapes
from controlplane.api.access import actor
from controlplane.api.paging import number_of, page
from controlplane.api.problems import problem
from controlplane.api.reading import read_body, read_number, read_query, write
from controlplane.api.requests import DiffQuery, Nothing, RevisionsQuery, RollbackBody
from controlplane.api.services import ApiServices
from controlplane.policy.diff import diff, diff_text
from controlplane.policy.documents import load_policy
from controlplane.policy.proofs import Proof
from controlplane.policy.rules import Policy
from controlplane.store.stored import StoredRevision

_REMEDY = "list the revisions"
#: The last of a revision; what came of older ones is in `/proofs`.
_MAX_PROOFS = 10_000


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("policy", __name__)

    def load(number: int, where: str) -> tuple[StoredRevision | None, Policy]:
        current = services.publisher.policy
        if number == 0:
            return None, Policy(0, {}, current.modes, current.default_mode)
        stored = services.store.revision(number)
        if stored is None:
            raise problem(HTTPStatus.NOT_FOUND, "missing", f"there is no revision {number}", where=where, remedy=_REMEDY)
        return stored, load_policy(stored.document, number, current.modes, current.default_mode)

    def answer(number: int) -> flask.Response:
        stored, policy = load(number, "path")
        return write(shapes.revision(stored, policy, services.publisher.policy.revision, tried(number)))

    def tried(number: int) -> Sequence[Proof]:
        return services.store.proofs(_MAX_PROOFS, revision=number)

    @routes.get("/policy")
    def active() -> flask.Response:
        read_query(Nothing)
        return answer(services.publisher.policy.revision)

    @routes.get("/policy/objects")
    def objects() -> flask.Response:
        read_query(Nothing)
        listed = [
            revisions.PolicyObject(one.object, one.service, one.own, str(one.state), one.revision, one.reason)
            for one in services.objects()
        ]
        return write(revisions.PolicyObjects(services.publisher.policy.revision, listed))

    @routes.get("/policy/revisions")
    def several() -> flask.Response:
        query = read_query(RevisionsQuery)
        current = services.publisher.policy
        found = services.store.revisions(query.limit + 1, number_of(query.cursor))
        shown, cursor = page(found, query.limit, lambda stored: stored.number)
        listed = [
            shapes.revision_summary(
                stored,
                load_policy(stored.document, stored.number, current.modes, current.default_mode),
                current.revision,
                tried(stored.number),
            )
            for stored in shown
        ]
        return write(revisions.Revisions(current.revision, listed, cursor))

    @routes.get("/policy/revisions/<number>")
    def one(number: str) -> flask.Response:
        read_query(Nothing)
        return answer(read_number(number, "revision"))

    @routes.get("/policy/diff")
    def differences() -> flask.Response:
        query = read_query(DiffQuery)
        after = services.publisher.policy.revision if query.after is None else query.after
        before = max(0, after - 1) if query.before is None else query.before
        changes = diff(load(before, "query.before")[1], load(after, "query.after")[1])
        listed = [
            revisions.RuleChange(
                service=str(change.service),
                source=change.source,
                port=change.port,
                change=str(change.change),
                before=None if change.before is None else shapes.http(change.before),
                after=None if change.after is None else shapes.http(change.after),
            )
            for change in changes
        ]
        return write(revisions.Diff(before=before, after=after, changes=listed, text=diff_text(changes)))

    @routes.post("/policy/rollback")
    def rollback() -> flask.Response:
        body = read_body(RollbackBody)
        return write(outcomes.published(services.review.rollback(body.revision, actor(), body.comment), _REMEDY))

    return routes
