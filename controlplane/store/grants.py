"""Timed exceptions as rows, and back. Commits nothing, and never says when one ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, update

from controlplane.policy.documents import parse_source
from controlplane.policy.grants import Grant
from controlplane.policy.rules import Rule
from controlplane.store import tables
from controlplane.store.matches import dump_matches, load_matches
from controlplane.store.statements import newest, next_number
from controlplane.topology.model import parse_service_name


def insert_grant(connection: Connection, grant: Grant) -> Grant:
    """Store one under the next number."""
    stored = replace(grant, id=next_number(connection, "grant"))
    connection.execute(
        tables.grants.insert().values(
            id=stored.id, service=str(stored.service), source=str(stored.rule.source), port=stored.rule.port,
            http=dump_matches(stored.rule.http), before=None if stored.before is None else dump_matches(stored.before),
            reason=stored.reason, ticket=stored.ticket, actor=stored.actor, created_ms=stored.created_ms,
            expires_ms=stored.expires_ms, ended_ms=stored.ended_ms, ended_by=stored.ended_by,
        )
    )  # fmt: skip
    return stored


def end_grant(connection: Connection, grant_id: int, ended_by: str, now_ms: int) -> bool:
    """Mark one as ended; ``False`` when it had ended."""
    table = tables.grants
    statement = update(table).where(table.c.id == grant_id, table.c.ended_ms.is_(None)).values(ended_ms=now_ms, ended_by=ended_by)
    return connection.execute(statement).rowcount == 1


def select_grants(connection: Connection, limit: int, before: int | None, *, active: bool) -> list[Grant]:
    """Newest first."""
    query = newest(tables.grants.c.id, limit, before)
    if active:
        query = query.where(tables.grants.c.ended_ms.is_(None))
    return [_grant(row) for row in connection.execute(query).mappings()]


def _grant(row: Mapping[Any, Any]) -> Grant:
    rule = Rule(parse_source(row["source"]), row["port"], load_matches(row["http"]))
    before = None if row["before"] is None else load_matches(row["before"])
    return Grant(
        row["id"], parse_service_name(row["service"]), rule, before, row["reason"], row["ticket"], row["actor"], row["created_ms"],
        row["expires_ms"], row["ended_ms"], row["ended_by"],
    )  # fmt: skip
