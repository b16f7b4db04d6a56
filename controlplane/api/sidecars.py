"""`/api/v1/sidecars`: every sidecar's state, where one is missing, and what a workload's sidecars are told."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import schemas, shapes
from controlplane.api.names import service_named
from controlplane.api.paging import page_after
from controlplane.api.problems import problem
from controlplane.api.reading import read_query, write
from controlplane.api.requests import ConfigQuery, Nothing, SidecarsQuery
from controlplane.api.services import ApiServices
from controlplane.identity.spiffe import parse_workload
from controlplane.store.stored import SidecarRow


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("sidecars", __name__)

    def staged(row: SidecarRow) -> int | None:
        """The rollout whose stage a sidecar is in."""
        rollout = services.publisher.in_force.rollouts.get(parse_workload(row.workload))
        return rollout.id if rollout is not None and rollout.includes(row.instance) else None

    @routes.get("/sidecars")
    def several() -> flask.Response:
        query = read_query(SidecarsQuery)
        rows = services.store.sidecars()
        shown, cursor = page_after(rows, query.limit, query.cursor, lambda row: (row.workload, row.instance), tuple[str, str])
        now_ms = services.clock_ms()
        listed = [shapes.sidecar(row, now_ms, staged(row)) for row in shown]
        return write(schemas.Sidecars(services.publisher.policy.revision, listed, cursor))

    @routes.get("/sidecars/missing")
    def missing() -> flask.Response:
        read_query(Nothing)
        found = services.gaps()
        replicas = [
            schemas.UnmeshedReplica(each.namespace, each.replica, each.owner, each.reason, each.workload) for each in found.replicas
        ]
        return write(schemas.Unmeshed(replicas, list(found.notes)))

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
