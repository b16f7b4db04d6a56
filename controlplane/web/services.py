"""Services: a list of them, and a page of each with who calls it, who may and why, its readiness, violations and sidecars.

The explain box says what would become of a request. Writes nothing.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from http import HTTPStatus
from typing import Annotated, Literal

import flask
from msgspec import Meta, Struct

from controlplane.api import shapes
from controlplane.api.explain import explained
from controlplane.api.names import service_named
from controlplane.api.reading import read_query
from controlplane.graph.chart import ChartedEdge
from controlplane.graph.evidence import DAY_MS
from controlplane.policy.explain import Explanation
from controlplane.policy.rules import Mode
from controlplane.store.stored import ViolationFilter
from controlplane.topology.model import Service, ServiceName
from controlplane.web.guard import Console

#: Services that the list shows; a text narrows it.
LISTED = 500
#: Violations of the last week that a service's page shows, of those to it and of those from it.
RECENT = 8
_WEEK_DAYS = 7
_MAX_RUNNING = 1_000
_Name = Annotated[str, Meta(max_length=300)]


class ListQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``text`` is a part of the name."""

    text: _Name = ""
    mode: Literal["", "learn", "audit", "enforce", "quarantine"] = ""


class ExplainQuery(Struct, frozen=True, forbid_unknown_fields=True, rename={"source": "from"}):
    """A request to explain; without a source there is none."""

    source: _Name = ""
    port: Annotated[str, Meta(pattern="^([1-9][0-9]{0,4})?$")] = ""
    method: Annotated[str, Meta(max_length=64)] = ""
    path: Annotated[str, Meta(max_length=1024)] = ""


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("services", __name__)
    api = console.api

    @routes.get("/services")
    def several() -> str:
        query = read_query(ListQuery)
        now = api.publisher.in_force
        edges = api.review.learning.chart(now.policy, now.topology, api.review.glance.edges())
        callers, callees = Counter(c.edge.destination for c in edges), Counter(c.edge.source for c in edges)
        readiness = {found.subject: (found, lacking) for found, lacking in api.review.modes.verdicts()[1]}
        names = [
            name for name in sorted(now.topology.services)
            if query.text.strip() in str(name) and (not query.mode or now.policy.mode(name) == query.mode)
        ]  # fmt: skip
        unmeshed = api.gaps().by_workload()
        listed = [
            (
                shapes.map_service(now.topology.services[name], now.policy),
                callers[shown],
                callees[shown],
                readiness.get(shown),
                unmeshed.get(shown, 0),
            )
            for name in names[:LISTED]
            for shown in (str(name),)
        ]
        return flask.render_template("services.html", query=query, services=listed, total=len(names), modes=list(Mode))

    @routes.get("/services/<namespace>/<name>")
    def one(namespace: str, name: str) -> tuple[str, HTTPStatus]:
        query = read_query(ExplainQuery)
        service = service_at(console, namespace, name)
        now, shown = api.publisher.in_force, str(service.name)
        learned = api.review.glance.edges()
        charted = api.review.learning.chart(now.policy, now.topology, learned)
        edges = [c for c in charted if shown in {c.edge.source, c.edge.destination}]
        since_ms = max(api.clock_ms() - _WEEK_DAYS * DAY_MS, 1)
        violations = [
            *api.store.violations(ViolationFilter(since_ms=since_ms, destination=shown), RECENT),
            *api.store.violations(ViolationFilter(since_ms=since_ms, source=shown), RECENT),
        ]
        running = [one for one in api.store.rollouts(_MAX_RUNNING, running=True) if one.service == service.name]
        mode = now.policy.mode(service.name)
        explanation, mistake = _explained(service, query) if query.source else (None, "")
        page = flask.render_template(
            "service.html", service=service, name=shown, mode=mode, listed=now.policy.of(service.name),
            callers=_by(edges, shown, "destination"), callees=_by(edges, shown, "source"),
            readiness=api.review.modes.verdicts(shown)[1][0], modes=[other for other in Mode if other is not mode],
            held=[edge for edge in api.review.leases.held(learned) if edge.service == service.name],
            violations=sorted({v.id: v for v in violations}.values(), key=lambda v: -v.last_seen_ms), running=running,
            sidecars=[shapes.sidecar(row, api.clock_ms()) for row in api.store.sidecars() if row.workload == str(service.workload)],
            query=query, explained=explanation, mistake=mistake, unmeshed=api.gaps().by_owner(str(service.workload)),
            differing=[one for one in api.objects() if one.service == shown and one.needs_a_look],
        )  # fmt: skip
        return page, HTTPStatus.UNPROCESSABLE_ENTITY if mistake else HTTPStatus.OK

    def _explained(service: Service, query: ExplainQuery) -> tuple[Explanation | None, str]:
        """What becomes of the request, or else why there is no such request."""
        try:
            return explained(api, service, query.source, int(query.port or 0), query.method, query.path), ""
        except ValueError as error:
            return None, str(error)

    return routes


def service_at(console: Console, namespace: str, name: str) -> Service:
    """The service that an address names.

    Raises:
        ApiProblemError: there is none.
    """
    topology = console.api.publisher.topology
    return topology.services[service_named(topology, f"{namespace}/{name}", "path")]


def has_page(console: Console, name: str) -> bool:
    """Whether a name of an edge's end is that of a service."""
    namespace, _, rest = name.partition("/")
    return ServiceName(namespace, rest) in console.api.publisher.topology.services


def modes_of(console: Console, names: Iterable[str]) -> list[tuple[str, Mode]]:
    """Those names of edges' ends that are services, each with its mode."""
    policy = console.api.publisher.policy
    return [(name, policy.mode(ServiceName(*name.split("/", 1)))) for name in names if has_page(console, name)]


def _by(edges: list[ChartedEdge], name: str, end: str) -> list[ChartedEdge]:
    """The edges with this end, those in use first."""
    found = [charted for charted in edges if getattr(charted.edge, end) == name]
    return sorted(found, key=lambda charted: (charted.approved, -charted.edge.count))
