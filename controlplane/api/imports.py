"""`/api/v1/learn/import`: batches of flows that other tools saw."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api.access import actor
from controlplane.api.problems import problem
from controlplane.api.reading import read_body, write
from controlplane.api.requests import ImportBody, ImportedEnd, ImportedFlow
from controlplane.api.schemas import ImportReceipt
from controlplane.api.services import ApiServices
from controlplane.flows.imports.model import End, Imported, Unused, checked
from controlplane.flows.model import Verdict
from controlplane.workflow.importing import Import, Imports


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("imports", __name__)
    imports = Imports(services.store, services.publisher, services.clock_ms)

    @routes.post("/learn/import")
    def take() -> flask.Response:
        body = read_body(ImportBody)
        flows = [_flow(flow, index) for index, flow in enumerate(body.flows)]
        stored = imports.take(Import(body.epoch, body.log, body.format), body.number, flows, actor())
        return write(ImportReceipt(stored))

    return routes


def _flow(flow: ImportedFlow, index: int) -> Imported:
    found = checked(
        Imported(
            _end(flow.source), _end(flow.destination), flow.port, flow.protocol, Verdict(flow.verdict), flow.inbound, flow.at_ms,
            flow.method, flow.path, flow.reason,
        )
    )  # fmt: skip
    if isinstance(found, Unused):
        raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", found.reason, where=f"body.flows[{index}]")
    return found


def _end(end: ImportedEnd) -> End:
    return End(end.namespace, end.account, end.app, end.workload, end.address, end.host)
