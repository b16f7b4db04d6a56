"""Sidecars: each one's state, what it refused, what it reports, and since when not; and which pods have none. Read only."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from types import MappingProxyType
from typing import Annotated, Literal

import flask
from msgspec import Meta, Struct

from controlplane.api import shapes
from controlplane.api.authority import authority
from controlplane.api.reading import read_query
from controlplane.api.schemas import Sidecar
from controlplane.web.guard import Console
from controlplane.workflow.revisions import Refused

PAGE = 200
#: What people look for, by the word in the address.
STATES: Mapping[str, str] = MappingProxyType(
    {"ack": "up to date", "pending": "behind", "nack": "refused a part", "away": "away", "blind": "blind"}
)


class SidecarsQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """``text`` is a part of the workload's or the instance's name; ``after`` goes on after a page: "WORKLOAD INSTANCE"."""

    text: Annotated[str, Meta(max_length=300)] = ""
    state: Literal["", "ack", "pending", "nack", "away", "blind"] = ""
    after: Annotated[str, Meta(max_length=600)] = ""

    def matches(self, sidecar: Sidecar) -> bool:
        """Whether a sidecar is meant."""
        if self.text.strip() not in f"{sidecar.workload} {sidecar.instance}":
            return False
        return not self.state or self.state == sidecar.state or (self.state == "blind" and sidecar.blind_since_ms is not None)


def blueprint(console: Console) -> flask.Blueprint:
    """The page."""
    routes = flask.Blueprint("sidecars", __name__)

    @routes.get("/sidecars")
    def several() -> str:
        query = read_query(SidecarsQuery)
        now_ms = console.api.clock_ms()
        everybody = [shapes.sidecar(row, now_ms) for row in console.api.store.sidecars()]
        counts = Counter(sidecar.state for sidecar in everybody)
        counts["blind"] = sum(sidecar.blind_since_ms is not None for sidecar in everybody)
        matching = [s for s in everybody if query.matches(s) and f"{s.workload} {s.instance}" > query.after]
        shown = matching[:PAGE]
        given = {name: value for name, value in flask.request.args.items() if value and name != "after"}
        after = f"{shown[-1].workload} {shown[-1].instance}" if len(matching) > PAGE else None
        gaps, rotated = console.api.gaps(), console.api.authority()
        return flask.render_template(
            "sidecars.html", query=query, sidecars=shown, counts=counts, states=STATES, total=len(everybody), given=given,
            after=after, revision=console.api.publisher.policy.revision, gaps=gaps, owned=gaps.by_owner(), listed=PAGE,
            authority=None if isinstance(rotated, Refused) else authority(rotated),
        )  # fmt: skip

    return routes
