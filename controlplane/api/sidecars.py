"""`/api/v1/sidecars`: every sidecar's state, and what a workload's sidecars are told."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import schemas, shapes
from controlplane.api.problems import problem
from controlplane.api.reading import read_query, write
from controlplane.api.requests import ConfigQuery, Nothing
from controlplane.api.services import ApiServices
from controlplane.identity.spiffe import SpiffeError, WorkloadId


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("sidecars", __name__)

    @routes.get("/sidecars")
    def several() -> flask.Response:
        read_query(Nothing)
        listed = [shapes.sidecar(row) for row in services.store.sidecars()]
        return write(schemas.Sidecars(services.publisher.policy.revision, listed))

    @routes.get("/sidecars/<namespace>/<account>/config")
    def config(namespace: str, account: str) -> flask.Response:
        query = read_query(ConfigQuery)
        from controlplane.api.decoded import decode  # noqa: PLC0415  # the typed view takes half a second to import

        try:
            snapshot = services.publisher.snapshot(WorkloadId(namespace, account))
        except SpiffeError:
            snapshot = None
        if snapshot is None:
            raise problem(
                HTTPStatus.NOT_FOUND, "missing", f"no service in the topology has the workload {namespace[:80]}/{account[:80]}",
                where="path", remedy="list the map's services",
            )  # fmt: skip
        views = decode(snapshot, query.type)
        resources = [schemas.Resource(view.type, view.name, view.version, view.content) for view in views]
        return write(schemas.SidecarConfig(f"{namespace}/{account}", snapshot.revision, snapshot.version, resources))

    return routes
