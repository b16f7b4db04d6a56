"""`/api/v1/incidents`: groups of violations, and what people do about them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import fields
from http import HTTPStatus

import flask

from controlplane.api import incident_schemas as schemas
from controlplane.api import outcomes
from controlplane.api.access import actor
from controlplane.api.paging import number_of, page
from controlplane.api.problems import problem
from controlplane.api.reading import read_body, read_number, read_query, write
from controlplane.api.requests import Nothing, OpenQuery
from controlplane.api.services import ApiServices
from controlplane.store.interface import Store
from controlplane.violations import line
from controlplane.violations.handling import Incident
from controlplane.violations.incidents import Found
from controlplane.workflow.incidents import MAX_NOTES, Incidents

REMEDY = "look at the incident"


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("incidents", __name__)
    incidents = Incidents(services.store, services.publisher, services.clock_ms)

    @routes.get("/incidents")
    def several() -> flask.Response:
        query = read_query(OpenQuery)
        found = services.store.incidents(query.limit + 1, number_of(query.cursor), is_open=not query.all)
        shown, cursor = page(found, query.limit, lambda incident: incident.id)
        return write(schemas.Incidents([shape(incident) for incident in shown], cursor))

    @routes.get("/incidents/<number>")
    def one(number: str) -> flask.Response:
        read_query(Nothing)
        incident = incident_numbered(services.store, number)
        notes = [
            schemas.Note(note.at_ms, note.actor, note.action, note.text) for note in services.store.notes(incident.id, MAX_NOTES)
        ]
        reach = [schemas.Reach(reached.source, _plain(reached.services)) for reached in incidents.reach(incident)]
        return write(schemas.IncidentDetail(shape(incident), notes, reach))

    @routes.post("/incidents/<number>/assign")
    def assign(number: str) -> flask.Response:
        body = read_body(schemas.AssignBody)
        return write(outcomes.done(incidents.assign(read_number(number, "incident"), body.assignee, actor()), REMEDY))

    @routes.post("/incidents/<number>/close")
    def close(number: str) -> flask.Response:
        body = read_body(schemas.ReasonBody)
        return write(outcomes.done(incidents.close(read_number(number, "incident"), body.reason, actor()), REMEDY))

    @routes.post("/incidents/<number>/reopen")
    def reopen(number: str) -> flask.Response:
        body = read_body(schemas.ReasonBody)
        return write(outcomes.done(incidents.reopen(read_number(number, "incident"), body.reason, actor()), REMEDY))

    @routes.post("/incidents/<number>/note")
    def note(number: str) -> flask.Response:
        body = read_body(schemas.NoteBody)
        return write(outcomes.done(incidents.note(read_number(number, "incident"), body.text, actor()), REMEDY))

    return routes


def incident_numbered(store: Store, number: str) -> Incident:
    """The incident of a number in an address.

    Raises:
        ApiProblemError: there is none.
    """
    wanted = read_number(number, "incident")
    found = store.incident(wanted)
    if found is None:
        detail, remedy = f"there is no incident {wanted}", "list the incidents"
        raise problem(HTTPStatus.NOT_FOUND, "missing", detail, where="path", remedy=remedy)
    return found


def shape(incident: Incident) -> schemas.Incident:
    """An incident as the API has it."""
    found = incident.found
    plain = {field.name: getattr(found, field.name) for field in fields(Found) if field.name not in {"anchor", "kind"}}
    return schemas.Incident(
        id=incident.id, kind=str(found.kind), **plain | {"sources": list(found.sources), "places": list(found.places)},
        status=str(incident.status), assignee=incident.assignee, closed_ms=incident.closed_ms, closed_by=incident.closed_by,
        close_reason=incident.close_reason, q=line.write(found.query),
    )  # fmt: skip


def _plain(services: Mapping[str, int]) -> dict[str, int]:
    return dict(services)
