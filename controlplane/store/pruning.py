"""Finds and removes rows that are out of date, a bounded piece at a time. Never decides how old that is.

Rows are found by a read, which holds up nobody, and removed by their keys, each only if it is still out of date then.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from sqlalchemy import ColumnElement, Connection, Table, and_, delete, exists, func, or_, select, tuple_

from controlplane.graph.evidence import HOUR_MS
from controlplane.store import tables
from controlplane.store.statements import parts
from controlplane.store.stored import Prunable

#: Keys of one statement: six columns of each are bound at most, and older SQLite takes 999 values.
_CHUNK = 150
_MAX_INTEGER = 2**63 - 1
_MAX_HOUR = 2**31 - 1  # the column is narrower
_SUPERSEDED = "superseded"

Key = tuple[Any, ...]


def find_stale(connection: Connection, what: Prunable, bound: int, limit: int) -> list[Key]:
    """The keys of at most ``limit`` rows; see `interface.Store.prune`."""
    table, stale = _stale(what, bound)
    found = select(*table.primary_key.columns).where(stale).limit(limit)
    return [tuple(row) for row in connection.execute(found)]


def remove_stale(connection: Connection, what: Prunable, bound: int, keys: Sequence[Key]) -> int:
    """Remove rows; how many there were. One that was used meanwhile stays."""
    table, stale = _stale(what, bound)
    removed = sum(_delete(connection, table, keys, stale))
    if what is Prunable.EDGES:
        edges = tables.edges.c
        _delete(connection, tables.evidence, keys, ~exists().where(edges.key_hash == tables.evidence.c.key_hash))
    if what is Prunable.VIOLATION_HOURS:
        totals = tables.violation_totals
        connection.execute(delete(totals).where(_before(totals.c.hour, max(0, min(bound // HOUR_MS, _MAX_HOUR)))))
    if what is Prunable.INCIDENTS:
        notes = tables.incident_notes
        for part in parts([key[0] for key in keys]):
            connection.execute(
                delete(notes).where(notes.c.incident.in_(part), ~exists().where(tables.incidents.c.id == notes.c.incident))
            )
    if what is Prunable.SIDECARS:
        sidecars, reports = tables.sidecars.c, tables.reports.c
        same = and_(sidecars.workload == reports.workload, sidecars.instance == reports.instance)
        _delete(connection, tables.reports, keys, and_(_before(reports.last_report_ms, bound), ~exists().where(same)))
    return removed


def _delete(connection: Connection, table: Table, keys: Sequence[Key], stale: ColumnElement[bool]) -> list[int]:
    """How many went, statement by statement."""
    columns = tuple(table.primary_key.columns)
    # A tuple of one column is no row value to SQLite.
    wanted = columns[0] if len(columns) == 1 else tuple_(*columns)
    chosen = [key[0] if len(columns) == 1 else key for key in keys]
    return [
        connection.execute(delete(table).where(wanted.in_(chosen[start : start + _CHUNK]), stale)).rowcount
        for start in range(0, len(chosen), _CHUNK)
    ]


def _stale(what: Prunable, bound: int) -> tuple[Table, ColumnElement[bool]]:
    """Where rows of a kind are, and which of them are out of date."""
    match what:
        case Prunable.VIOLATIONS:
            return tables.violations, _before(tables.violations.c.last_seen_ms, bound)
        case Prunable.VIOLATION_HOURS:
            return tables.violation_hours, _before(tables.violation_hours.c.hour, max(0, min(bound // HOUR_MS, _MAX_HOUR)))
        case Prunable.INCIDENTS:
            return tables.incidents, _before(tables.incidents.c.last_seen_ms, bound)
        case Prunable.HISTORY:
            return tables.history, _before(tables.history.c.hour, max(0, min(bound // HOUR_MS, _MAX_HOUR)))
        case Prunable.EDGES:
            return tables.edges, _before(tables.edges.c.last_seen_ms, bound)
        case Prunable.EPOCHS:
            return tables.epochs, _before(tables.epochs.c.stored_ms, bound)
        case Prunable.JOIN_TOKENS:
            table = tables.join_tokens.c
            return tables.join_tokens, or_(_before(table.expires_ms, bound), _before(table.used_ms, bound))
        case Prunable.CALLS:
            return tables.calls, _before(tables.calls.c.begun_ms, bound)
        case Prunable.APPROVALS:
            return tables.approvals, _before(tables.approvals.c.at_ms, bound)
        case Prunable.PROOFS:
            return tables.proofs, _is_old_proof(bound)
        case Prunable.SUPERSEDED_PROPOSALS:
            return tables.proposals, _beyond_the_newest(bound)
        case Prunable.SIDECARS:
            return tables.sidecars, _is_gone(bound)


def _before(column: ColumnElement[Any], bound: int) -> ColumnElement[bool]:
    return column < min(bound, _MAX_INTEGER)


def _beyond_the_newest(kept: int) -> ColumnElement[bool]:
    table = tables.proposals.c
    newest = tables.proposals.alias()
    oldest_removed = (
        select(newest.c.number)
        .where(newest.c.status == _SUPERSEDED)
        .order_by(newest.c.number.desc())
        .offset(min(kept, _MAX_INTEGER))
        .limit(1)
        .scalar_subquery()
    )
    return and_(table.status == _SUPERSEDED, table.number <= oldest_removed)


def _is_old_proof(before_ms: int) -> ColumnElement[bool]:
    """Those that another one of the same target followed."""
    table, later = tables.proofs.c, tables.proofs.alias()
    same = (later.c.service == table.service, later.c.port == table.port, later.c.address == table.address)
    return and_(_before(table.created_ms, before_ms), exists().where(*same, later.c.id > table.id))


def _is_gone(before_ms: int) -> ColumnElement[bool]:
    """Sidecars that are not connected and gave no sign of life since. Certificates are renewed while a sidecar lives."""
    table, reports = tables.sidecars.c, tables.reports.c
    reported = exists().where(
        reports.workload == table.workload, reports.instance == table.instance, ~_before(reports.last_report_ms, before_ms)
    )
    return and_(
        table.connected.is_(False),
        _before(func.coalesce(table.connected_ms, 0), before_ms),
        _before(func.coalesce(table.certificate_not_after_ms, 0), before_ms),
        ~reported,
    )
