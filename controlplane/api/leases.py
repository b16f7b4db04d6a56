"""`/api/v1/leases`: who answers for each approved edge, until when, and when it was last used."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import outcomes, shapes
from controlplane.api.access import actor
from controlplane.api.names import end_named, service_named
from controlplane.api.paging import page_after
from controlplane.api.problems import problem
from controlplane.api.reading import read_body, read_query, write
from controlplane.api.requests import LeaseBody, LeasesQuery
from controlplane.api.review_schemas import HeldEdge, Leases
from controlplane.api.services import ApiServices
from controlplane.graph import upkeep
from controlplane.graph.evidence import DAY_MS
from controlplane.policy.documents import parse_source
from controlplane.policy.leases import from_ms
from controlplane.policy.traffic_policy import Lease


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("leases", __name__)

    @routes.get("/leases")
    def several() -> flask.Response:
        query = read_query(LeasesQuery)
        wanted = service_named(services.publisher.topology, query.service, "query.service") if query.service else None
        now_ms = services.clock_ms()
        held = sorted((edge for edge in services.review.leases.held() if wanted in {None, edge.service}), key=_key)
        if query.expiring is not None:
            held = [edge for edge in held if _ends_by(edge, now_ms + query.expiring * DAY_MS)]
        if query.unused is not None:
            held = [edge for edge in held if (edge.last_used_ms or 0) <= now_ms - query.unused * DAY_MS]
        shown, cursor = page_after(held, query.limit, query.cursor, _key, tuple[str, str, int])
        return write(Leases([_held(edge) for edge in shown], cursor))

    @routes.put("/leases")
    def renew() -> flask.Response:
        body = read_body(LeaseBody)
        topology = services.publisher.topology
        service = service_named(topology, body.destination, "body.destination")
        try:
            source = str(parse_source(end_named(topology, body.source)))
        except ValueError as error:
            raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", str(error), where="body.source") from error
        lease = lease_of(body.owner, body.reason, body.ticket, body.expires_ms) or Lease()
        return write(outcomes.done(services.review.leases.renew(service, source, body.port, lease, actor()), "list the leases"))

    return routes


def lease_of(owner: str, reason: str, ticket: str, expires_ms: int | None) -> Lease | None:
    """A lease, where anything of it is said."""
    if not (owner or reason or ticket or expires_ms):
        return None
    return Lease(owner, reason, ticket, None if expires_ms is None else from_ms(expires_ms))


def _key(edge: upkeep.HeldEdge) -> tuple[str, str, int]:
    return str(edge.service), str(edge.rule.source), edge.rule.port


def _ends_by(edge: upkeep.HeldEdge, at_ms: int) -> bool:
    expires_ms = None if edge.lease is None else edge.lease.expires_ms
    return expires_ms is not None and expires_ms <= at_ms


def _held(edge: upkeep.HeldEdge) -> HeldEdge:
    lease = edge.lease
    return HeldEdge(
        source=str(edge.rule.source), destination=str(edge.service), port=edge.rule.port,
        http=shapes.http(edge.rule.http),
        owner=lease.lease.owner if lease else "", reason=lease.lease.reason if lease else "",
        ticket=lease.lease.ticket if lease else "", expires_ms=lease.expires_ms if lease else None,
        actor=lease.actor if lease else "", since_ms=edge.since_ms, last_used_ms=edge.last_used_ms,
    )  # fmt: skip
