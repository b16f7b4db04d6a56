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
from controlplane.graph.evidence import DAY_MS
from controlplane.workflow.importing import Import, Imports
from controlplane.workflow.retention import Keep


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("imports", __name__)
    imports = Imports(services.store, services.publisher, services.clock_ms)

    @routes.post("/learn/import")
    def take() -> flask.Response:
        body = read_body(ImportBody)
        flows = [_flow(flow, index) for index, flow in enumerate(body.flows)]
        stored = imports.take(Import(body.epoch, body.log, body.format), body.number, flows, actor())
        return write(ImportReceipt(stored, sum(_is_stale(flow, services.keep, services.clock_ms()) for flow in flows)))

    return routes


def _is_stale(flow: Imported, keep: Keep, now_ms: int) -> bool:
    """Whether it is older than what is kept of its kind."""
    days = keep.edges_days if flow.verdict is Verdict.ALLOWED else keep.violations_days
    return bool(days) and flow.at_ms < now_ms - days * DAY_MS


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
