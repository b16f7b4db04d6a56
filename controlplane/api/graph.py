"""`/api/v1/map`: services, and the edges that were learned or are approved."""

from __future__ import annotations

import flask

from controlplane.api import shapes
from controlplane.api.names import service_named
from controlplane.api.reading import read_query, write
from controlplane.api.requests import MapQuery
from controlplane.api.schemas import Map
from controlplane.api.services import ApiServices
from controlplane.graph.chart import chart


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("map", __name__)

    @routes.get("/map")
    def show() -> flask.Response:
        query = read_query(MapQuery)
        now = services.publisher.in_force
        policy, topology = now.policy, now.topology
        edges = chart(policy, services.review.learned(), topology)
        if query.service:
            name = str(service_named(topology, query.service, "query.service"))
            edges = [charted for charted in edges if name in {charted.edge.source, charted.edge.destination}]
        return write(
            Map(
                revision=policy.revision,
                services=[shapes.map_service(topology.services[name], policy) for name in sorted(topology.services)],
                edges=[shapes.map_edge(charted) for charted in edges[: query.limit]],
                edge_count=len(edges),
            )
        )

    return routes
