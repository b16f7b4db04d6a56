"""Incidents and their notes as rows, and back. Commits nothing, and groups nothing."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import fields, replace
from typing import Any

import msgspec
from sqlalchemy import Connection, func, select, update

from controlplane.store import tables
from controlplane.store.statements import lock_number, newest, next_number, parts
from controlplane.violations.handling import Incident, Note, Status
from controlplane.violations.incidents import Found, Kind, Use

_NAMES = ("sources", "places")
_PLAIN = tuple(field.name for field in fields(Found) if field.name not in {"kind", *_NAMES})


def lock_incidents(connection: Connection, since_ms: int) -> list[Incident]:
    """Those seen since then; nobody else groups any until this transaction ends."""
    lock_number(connection, "incident")
    query = select(tables.incidents).where(tables.incidents.c.last_seen_ms >= since_ms)
    return [_incident(row) for row in connection.execute(query).mappings()]


def insert_incident(connection: Connection, incident: Incident) -> Incident:
    """Store one under the next number."""
    stored = replace(incident, id=next_number(connection, "incident"))
    connection.execute(tables.incidents.insert().values(id=stored.id, **_found_columns(stored.found), **_handled_columns(stored)))
    return stored


def grow_incident(connection: Connection, incident_id: int, found: Found) -> None:
    """Replace what was found; what people did stays."""
    table = tables.incidents
    connection.execute(update(table).where(table.c.id == incident_id).values(**_found_columns(found)))


def handle_incident(connection: Connection, before: Incident, after: Incident) -> bool:
    """Replace what people did; ``False`` when somebody else did something meanwhile."""
    table = tables.incidents
    statement = update(table).where(
        table.c.id == before.id, table.c.status == str(before.status), table.c.assignee == before.assignee
    )
    return connection.execute(statement.values(**_handled_columns(after))).rowcount == 1


def insert_note(connection: Connection, note: Note) -> None:
    """Store what somebody did or wrote."""
    connection.execute(
        tables.incident_notes.insert().values(
            id=next_number(connection, "incident-note"), incident=note.incident, at_ms=note.at_ms, actor=note.actor,
            action=note.action, text=note.text,
        )
    )  # fmt: skip


def select_incidents(connection: Connection, limit: int, before: int | None, *, is_open: bool) -> list[Incident]:
    """Newest first."""
    query = newest(tables.incidents.c.id, limit, before)
    if is_open:
        query = query.where(tables.incidents.c.status == str(Status.OPEN))
    return [_incident(row) for row in connection.execute(query).mappings()]


def select_incident(connection: Connection, incident_id: int) -> Incident | None:
    """One of them."""
    row = connection.execute(select(tables.incidents).where(tables.incidents.c.id == incident_id)).mappings().first()
    return None if row is None else _incident(row)


def select_notes(connection: Connection, incident_id: int, limit: int) -> list[Note]:
    """The newest, oldest first."""
    table = tables.incident_notes.c
    query = select(table.incident, table.at_ms, table.actor, table.action, table.text)
    query = query.where(table.incident == incident_id).order_by(table.id.desc()).limit(limit)
    return [Note(*row) for row in reversed(connection.execute(query).all())]


def select_first_uses(connection: Connection, sources: Iterable[str]) -> dict[Use, int]:
    """When each edge of these sources was first allowed."""
    table = tables.edges.c
    found: dict[Use, int] = {}
    for part in parts(set(sources)):
        query = select(table.source, table.destination, table.port, func.min(table.first_seen_ms))
        query = query.where(table.source.in_(part))
        for source, destination, port, first_ms in connection.execute(query.group_by(table.source, table.destination, table.port)):
            found[source, destination, port] = first_ms
    return found


def _found_columns(found: Found) -> dict[str, Any]:
    names = {name: msgspec.json.encode(getattr(found, name)).decode() for name in _NAMES}
    return {"kind": str(found.kind), **names, **{name: getattr(found, name) for name in _PLAIN}}


def _handled_columns(incident: Incident) -> dict[str, Any]:
    return {
        "status": str(incident.status), "assignee": incident.assignee, "closed_ms": incident.closed_ms,
        "closed_by": incident.closed_by, "close_reason": incident.close_reason,
    }  # fmt: skip


def _incident(row: Mapping[Any, Any]) -> Incident:
    sources, places = (msgspec.json.decode(row[name], type=tuple[str, ...]) for name in _NAMES)
    found = Found(kind=Kind(row["kind"]), sources=sources, places=places, **{name: row[name] for name in _PLAIN})
    return Incident(
        row["id"], found, Status(row["status"]), row["assignee"], row["closed_ms"], row["closed_by"], row["close_reason"]
    )
