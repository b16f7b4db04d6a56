"""The audit log: who did what to what, by actor, action and subject, page by page, and whether anybody changed it. Read only."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

import flask
from msgspec import Meta, Struct

from controlplane.api import shapes
from controlplane.api.reading import read_query
from controlplane.policy.audit import AuditEvent
from controlplane.web.guard import Console

PAGE = 50
#: Events that one page looks through for those that match; from the last of them the next page goes on.
MAX_READ = 5_000
_PIECE = 500
_Text = Annotated[str, Meta(max_length=300)]


class AuditQuery(Struct, frozen=True, forbid_unknown_fields=True):
    """Parts of the texts; empty fields match everything. ``before`` goes on with the events before one, newest first."""

    actor: _Text = ""
    action: _Text = ""
    subject: _Text = ""
    before: Annotated[str, Meta(pattern="^([1-9][0-9]{0,14})?$")] = ""

    def matches(self, event: AuditEvent) -> bool:
        """Whether an event is meant."""
        return self.actor in event.actor and self.action in event.action and self.subject in event.subject


def said(value: object) -> str:
    """A part of an event's detail in words, not as a program writes it."""
    if isinstance(value, bool):
        return "yes" if value else "no"
    if isinstance(value, list):
        return ", ".join(map(said, value))
    if isinstance(value, dict):
        return "; ".join(f"{name}: {said(each)}" for name, each in value.items())
    return str(value)


def blueprint(console: Console) -> flask.Blueprint:
    """The page."""
    routes = flask.Blueprint("audit", __name__)

    @routes.get("/audit")
    def several() -> str:
        query = read_query(AuditQuery)
        newest = next(iter(console.api.store.audit(1)), None)
        first = int(query.before) - 1 if query.before else (newest.id if newest else 0)
        found: list[AuditEvent] = []
        last = first
        for event in _backwards(first):
            last = event.id
            if query.matches(event):
                found.append(event)
            if len(found) == PAGE or first - event.id >= MAX_READ:
                break
        given = {name: value for name, value in flask.request.args.items() if value and name != "before"}
        return flask.render_template(
            "audit.html", query=query, events=[shapes.audit_event(event) for event in found], given=given,
            older=last if last > 1 else None, looked=first - last + 1, newest=newest, said=said,
        )  # fmt: skip

    def _backwards(first: int) -> Iterator[AuditEvent]:
        """The events from that ID down: IDs have no gaps."""
        while first > 0:
            start = max(first - _PIECE, 0)
            yield from reversed(console.api.store.audit_after(start, first - start))
            first = start

    return routes
