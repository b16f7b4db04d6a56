"""`/api/v1/map`: services, and the edges that were learned or are approved; `/api/v1/map/picture`: the same drawn."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import flask

from controlplane.api import shapes
from controlplane.api.names import service_named
from controlplane.api.paging import page_after
from controlplane.api.reading import read_query, write
from controlplane.api.requests import MapQuery, PictureQuery
from controlplane.api.schemas import Map, Picture
from controlplane.api.services import ApiServices
from controlplane.graph.chart import ChartedEdge
from controlplane.graph.render import picture, svg, text
from controlplane.topology.model import Topology

#: What a drawing is, and who draws it.
_FORMATS: dict[str, tuple[str, Callable[[picture.Picture], str]]] = {
    "dot": ("text/vnd.graphviz", text.to_dot),
    "mermaid": ("text/vnd.mermaid", text.to_mermaid),
    "graphml": ("application/graphml+xml", text.to_graphml),
    "json": ("application/json", text.to_json),
    "svg": ("image/svg+xml", svg.to_svg),
}


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("map", __name__)

    @routes.get("/map")
    def show() -> flask.Response:
        query = read_query(MapQuery)
        now = services.publisher.in_force
        policy, topology = now.policy, now.topology
        charted = services.review.learning.chart(policy, topology, services.review.learned())
        edges = _around(charted, topology, query.service)
        shown, cursor = page_after(edges, query.limit, query.cursor, _key, tuple[str, str, int, str])
        return write(
            Map(
                revision=policy.revision,
                services=[shapes.map_service(topology.services[name], policy) for name in sorted(topology.services)],
                edges=[shapes.map_edge(charted) for charted in shown],
                edge_count=len(edges),
                next_cursor=cursor,
            )
        )

    @routes.get("/map/picture")
    def draw() -> flask.Response:
        query = read_query(PictureQuery)
        now = services.publisher.in_force
        edges = _around(
            services.review.learning.chart(now.policy, now.topology, services.review.learned()), now.topology, query.service
        )
        if query.namespace:
            edges = [charted for charted in edges if any(end.startswith(f"{query.namespace}/") for end in _ends(charted))]
        media_type, to_text = _FORMATS[query.format]
        # The other formats have no place for them, and reading them costs as much as the map.
        images = services.review.learning.images() if query.format == "json" else {}
        content = to_text(picture.picture_of(edges, now.topology, images))
        return write(Picture(now.policy.revision, query.format, media_type, content))

    return routes


def _around(edges: Iterable[ChartedEdge], topology: Topology, service: str) -> list[ChartedEdge]:
    """The edges from and to a service; all where none is named."""
    if not service:
        return list(edges)
    name = str(service_named(topology, service, "query.service"))
    return [charted for charted in edges if name in _ends(charted)]


def _key(charted: ChartedEdge) -> tuple[str, str, int, str]:
    edge = charted.edge
    return edge.source, edge.destination, edge.port, edge.protocol


def _ends(charted: ChartedEdge) -> tuple[str, str]:
    return charted.edge.source, charted.edge.destination
