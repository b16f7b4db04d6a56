"""`/api/v1/explain`: what becomes of a request by the policy in force, and by which rule. `policy.explain` decides."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import shapes
from controlplane.api.names import end_named, service_named
from controlplane.api.problems import problem
from controlplane.api.reading import read_query, write
from controlplane.api.requests import ExplainQuery
from controlplane.api.services import ApiServices
from controlplane.policy.documents import parse_source
from controlplane.policy.explain import Explanation, explain, request_from
from controlplane.policy.rules import HttpMatch
from controlplane.topology.model import Service


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The route."""
    routes = flask.Blueprint("explain", __name__)

    @routes.get("/explain")
    def show() -> flask.Response:
        query = read_query(ExplainQuery)
        now = services.publisher.in_force
        service = now.topology.services[service_named(now.topology, query.destination, "query.destination")]
        try:
            found = explained(services, service, query.source, query.port, query.method, query.path)
        except ValueError as error:
            remedy = "write namespace/name, or ip:ADDRESS for a caller without identity, and a path that begins with /"
            raise problem(HTTPStatus.BAD_REQUEST, "query", str(error), where="query", remedy=remedy) from error
        return write(shapes.explanation(found, now.policy.revision, now.policy.mode(service.name)))

    return routes


def explained(services: ApiServices, service: Service, source: str, port: int | None, method: str, path: str) -> Explanation:
    """What becomes of a request as people write it: a bare name of the source, no port for the service's first one.

    Raises:
        ValueError: there is no such request.
    """
    now = services.publisher.in_force
    caller = parse_source(end_named(now.topology, source.strip()))
    HttpMatch(method, path)
    wanted = port or (service.ports[0].number if service.ports else 0)
    request = request_from(caller, service.name, wanted, method, path or ("/" if method else ""))
    return explain(now.policy, request, is_guarded=service.meshed)
