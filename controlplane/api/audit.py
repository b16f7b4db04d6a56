"""`/api/v1/audit`: who did what to what, and whether the log is as it was written."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import shapes
from controlplane.api.paging import number_of, page
from controlplane.api.problems import problem
from controlplane.api.reading import read_query, write
from controlplane.api.requests import AuditQuery, AuditVerifyQuery
from controlplane.api.schemas import Audit, AuditVerdict
from controlplane.api.services import ApiServices
from controlplane.policy.audit import Chain, Head
from controlplane.store.interface import Store

#: Events that are read at a time.
PIECE = 1_000


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("audit", __name__)

    @routes.get("/audit")
    def several() -> flask.Response:
        query = read_query(AuditQuery)
        store = services.store
        if query.after_id is None:
            events, cursor = page(store.audit(query.limit + 1, number_of(query.cursor)), query.limit, lambda event: event.id)
        else:
            after = number_of(query.cursor) or query.after_id
            events, cursor = page(store.audit_after(after, query.limit + 1), query.limit, lambda event: event.id)
        return write(Audit([shapes.audit_event(event) for event in events], cursor))

    @routes.get("/audit/verify")
    def verify() -> flask.Response:
        text = read_query(AuditVerifyQuery).head
        try:
            pinned = Head.parse(text) if text else None
        except ValueError as error:
            raise problem(HTTPStatus.BAD_REQUEST, "query", str(error), where="query.head") from error
        return write(_verdict(services.store, pinned))

    return routes


def _verdict(store: Store, pinned: Head | None) -> AuditVerdict:
    chain, last = Chain(pinned), 0
    while events := store.audit_after(last, PIECE):
        chain.follow(events)
        last = events[-1].id
    return shapes.audit_verdict(chain.verdict(), last)
