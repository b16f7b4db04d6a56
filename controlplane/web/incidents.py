"""Incidents: the list, and one with its timeline, reach and notes, and the forms by which people handle it. Groups nothing."""

from __future__ import annotations

from dataclasses import replace
from http import HTTPStatus

import flask

from controlplane.api import outcomes
from controlplane.api.asked import filter_of
from controlplane.api.incident_schemas import AssignBody, NoteBody, ReasonBody
from controlplane.api.incidents import REMEDY, incident_numbered
from controlplane.api.reading import read_number, read_query
from controlplane.api.requests import OpenQuery
from controlplane.violations.histogram import histogram
from controlplane.violations.line import write
from controlplane.web import bars
from controlplane.web.forms import read_form
from controlplane.web.guard import Console, who
from controlplane.web.services import modes_of
from controlplane.workflow.incidents import MAX_NOTES, Incidents
from controlplane.workflow.revisions import Done, Refused

LISTED = 200
#: Violations that an incident's page shows.
SHOWN = 20


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("incidents", __name__)
    api = console.api
    incidents = Incidents(api.store, api.publisher, api.clock_ms)

    @routes.get("/incidents")
    def several() -> str:
        query = read_query(OpenQuery)
        found = sorted(
            api.store.incidents(LISTED, is_open=not query.all), key=lambda incident: incident.found.last_seen_ms, reverse=True
        )
        return flask.render_template("incidents.html", incidents=found, every=query.all, listed=LISTED)

    @routes.get("/incidents/<number>")
    def one(number: str) -> str:
        incident = incident_numbered(api.store, number)
        query = incident.found.query
        counts = api.store.count_violations(filter_of(query))
        drawn = histogram(counts.points, counts.width_ms)

        def address(since_ms: int, until_ms: int) -> str:
            return flask.url_for("blocked.several", q=write(replace(query, since_ms=since_ms, until_ms=until_ms)))

        page = api.store.violation_page(filter_of(query), SHOWN)
        return flask.render_template(
            "incident.html", incident=incident, found=incident.found, line=write(query), drawn=drawn,
            bars=list(bars.bars(drawn, address)), box=(bars.WIDTH, bars.HEIGHT),
            sources=modes_of(console, incident.found.sources), reached=incidents.reach(incident),
            notes=api.store.notes(incident.id, MAX_NOTES), violations=page.violations,
        )  # fmt: skip

    @routes.post("/incidents/<number>/assign")
    def assign(number: str) -> flask.typing.ResponseReturnValue:
        form = read_form(AssignBody)
        return _back(number, incidents.assign(read_number(number, "incident"), form.assignee, who(flask.g.session)))

    @routes.post("/incidents/<number>/close")
    def close(number: str) -> flask.typing.ResponseReturnValue:
        form = read_form(ReasonBody)
        return _back(number, incidents.close(read_number(number, "incident"), form.reason, who(flask.g.session)))

    @routes.post("/incidents/<number>/reopen")
    def reopen(number: str) -> flask.typing.ResponseReturnValue:
        form = read_form(ReasonBody)
        return _back(number, incidents.reopen(read_number(number, "incident"), form.reason, who(flask.g.session)))

    @routes.post("/incidents/<number>/note")
    def note(number: str) -> flask.typing.ResponseReturnValue:
        form = read_form(NoteBody)
        return _back(number, incidents.note(read_number(number, "incident"), form.text, who(flask.g.session)))

    return routes


def _back(number: str, outcome: Done | Refused) -> flask.typing.ResponseReturnValue:
    outcomes.done(outcome, REMEDY)
    return flask.redirect(flask.url_for("incidents.one", number=number), HTTPStatus.SEE_OTHER)
