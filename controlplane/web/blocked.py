"""Blocked connections: the violation log with filters, page by page, and each violation by itself. Changes nothing."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

import flask
from msgspec import Meta, Struct, structs

from controlplane.api.names import end_named
from controlplane.api.problems import problem
from controlplane.api.reading import read_number, read_query
from controlplane.flows.model import Verdict
from controlplane.store.interface import ViolationFilter
from controlplane.web.guard import Console

PAGE = 50
_Text = Annotated[str, Meta(max_length=300)]


class BlockedQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """The filter as its form writes it: empty fields match everything. ``before`` goes on after a page: "LAST_SEEN_MS-ID"."""

    text: _Text = ""
    source: _Text = ""
    destination: _Text = ""
    port: Annotated[str, Meta(pattern="^([1-9][0-9]{0,4})?$")] = ""
    verdict: Literal["", "denied", "would-deny"] = ""
    hours: Annotated[str, Meta(pattern="^([1-9][0-9]{0,4})?$")] = ""
    before: Annotated[str, Meta(pattern="^([0-9]{1,15}-[1-9][0-9]{0,14})?$")] = ""


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("blocked", __name__)

    @routes.get("/blocked")
    def several() -> str:
        query = read_query(BlockedQuery)
        wanted = _filter(console, query)
        found = console.api.store.violations(wanted, PAGE + 1)
        shown, last = found[:PAGE], None
        if len(found) > PAGE:
            last = f"{shown[-1].last_seen_ms}-{shown[-1].id}"
        filters = {name: value for name, value in structs.asdict(query).items() if value and name != "before"}
        total = console.api.store.count_violations(_filter(console, structs.replace(query, before="")))
        return flask.render_template(
            "blocked.html", query=query, filters=filters, violations=shown, last=last, total=total,
            verdicts=(Verdict.DENIED, Verdict.WOULD_DENY),
        )  # fmt: skip

    @routes.get("/blocked/<number>")
    def one(number: str) -> str:
        wanted = read_number(number, "violation")
        found = console.api.store.violations(ViolationFilter(after_id=wanted - 1 or -1), 1)
        if not found or found[0].id != wanted:
            detail, remedy = f"there is no violation {wanted}", "it may have been removed by age; look through the log"
            raise problem(HTTPStatus.NOT_FOUND, "missing", detail, where="path", remedy=remedy)
        return flask.render_template("violation.html", violation=found[0])

    return routes


def _filter(console: Console, query: BlockedQuery) -> ViolationFilter:
    topology = console.api.publisher.topology
    last_seen_ms, _, number = query.before.partition("-")
    return ViolationFilter(
        since_ms=max(console.api.clock_ms() - int(query.hours) * 3_600_000, 1) if query.hours else 0,
        source=end_named(topology, query.source.strip()),
        destination=end_named(topology, query.destination.strip()),
        verdict=Verdict(query.verdict) if query.verdict else None,
        port=int(query.port) if query.port else None,
        text=query.text.strip(),
        before=(int(last_seen_ms), int(number)) if query.before else None,
    )
