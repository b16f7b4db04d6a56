"""`/api/v1/sidecars`: every sidecar's state, and what a workload's sidecars are told."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import schemas, shapes
from controlplane.api.names import service_named
from controlplane.api.paging import page_after
from controlplane.api.problems import problem
from controlplane.api.reading import read_query, write
from controlplane.api.requests import ConfigQuery, SidecarsQuery
from controlplane.api.services import ApiServices


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("sidecars", __name__)

    @routes.get("/sidecars")
    def several() -> flask.Response:
        query = read_query(SidecarsQuery)
        rows = services.store.sidecars()
        shown, cursor = page_after(rows, query.limit, query.cursor, lambda row: (row.workload, row.instance), tuple[str, str])
        return write(schemas.Sidecars(services.publisher.policy.revision, [shapes.sidecar(row) for row in shown], cursor))

    @routes.get("/sidecars/<path:name>/config")
    def config(name: str) -> flask.Response:
        query = read_query(ConfigQuery)
        from controlplane.api.decoded import decode  # noqa: PLC0415  # the typed view takes half a second to import

        topology = services.publisher.topology
        service = topology.services[service_named(topology, name, "path")]
        snapshot = services.publisher.snapshot(service.workload)
        if snapshot is None:
            detail = f"{service.name} is outside the mesh: it has no sidecar"
            raise problem(HTTPStatus.NOT_FOUND, "missing", detail, where="path", remedy="name a service in the mesh")
        views = decode(snapshot, query.type)
        resources = [schemas.Resource(view.type, view.name, view.version, view.content) for view in views]
        return write(schemas.SidecarConfig(str(service.workload), snapshot.revision, snapshot.version, resources))

    return routes
