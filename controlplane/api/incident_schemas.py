"""Incidents as the API asks for and answers with them: one struct per body. Holds no rule."""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta, Struct

_Text = Annotated[str, Meta(min_length=1, max_length=2000)]


class AssignBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Whose it is; empty for nobody's."""

    assignee: Annotated[str, Meta(max_length=100)] = ""


class ReasonBody(Struct, frozen=True, forbid_unknown_fields=True):
    """Why."""

    reason: _Text


class NoteBody(Struct, frozen=True, forbid_unknown_fields=True):
    """What is written down."""

    text: _Text


class Incident(msgspec.Struct, frozen=True, kw_only=True):
    """A group of violations.

    ``kind`` is scan, lateral-movement, misconfiguration, stale-client or other; ``status`` open or closed.
    ``sources`` and ``places`` ("namespace/name:port") are some of as many as their counts say.
    ``q`` shows its violations in the log.
    """

    id: int
    kind: str
    why: str
    sources: list[str]
    source_count: int
    places: list[str]
    place_count: int
    count: int
    denied: int
    first_seen_ms: int
    last_seen_ms: int
    status: str
    assignee: str
    closed_ms: int | None
    closed_by: str
    close_reason: str
    q: str


class Incidents(msgspec.Struct, frozen=True):
    """Newest first."""

    incidents: list[Incident]
    next_cursor: str | None = None


class Note(msgspec.Struct, frozen=True):
    """What somebody did or wrote. ``action`` is assign, close, reopen or note."""

    at_ms: int
    actor: str
    action: str
    text: str


class Reach(msgspec.Struct, frozen=True):
    """What a source can reach by approved edges: each service with the number of calls it takes."""

    source: str
    services: dict[str, int]


class IncidentDetail(msgspec.Struct, frozen=True):
    """One incident, its notes in their order, and the reach of its sources."""

    incident: Incident
    notes: list[Note]
    reach: list[Reach]
