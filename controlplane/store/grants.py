"""Timed exceptions as rows, and back. Commits nothing, and never says when one ends."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Connection, select, update

from controlplane.policy.documents import parse_source
from controlplane.policy.grants import Grant
from controlplane.policy.rules import HttpMatch, Rule
from controlplane.store import tables
from controlplane.store.statements import next_number
from controlplane.topology.model import parse_service_name


def insert_grant(connection: Connection, grant: Grant) -> Grant:
    """Store one under the next number."""
    stored = replace(grant, id=next_number(connection, "grant"))
    connection.execute(
        tables.grants.insert().values(
            id=stored.id, service=str(stored.service), source=str(stored.rule.source), port=stored.rule.port,
            http=_dump(stored.rule.http), before=None if stored.before is None else _dump(stored.before),
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


def select_grants(connection: Connection, limit: int, *, active: bool) -> list[Grant]:
    """Newest first."""
    query = select(tables.grants).order_by(tables.grants.c.id.desc()).limit(limit)
    if active:
        query = query.where(tables.grants.c.ended_ms.is_(None))
    return [_grant(row) for row in connection.execute(query).mappings()]


def _grant(row: Mapping[Any, Any]) -> Grant:
    rule = Rule(parse_source(row["source"]), row["port"], _load(row["http"]))
    before = None if row["before"] is None else _load(row["before"])
    return Grant(
        row["id"], parse_service_name(row["service"]), rule, before, row["reason"], row["ticket"], row["actor"], row["created_ms"],
        row["expires_ms"], row["ended_ms"], row["ended_by"],
    )  # fmt: skip


def _dump(http: tuple[HttpMatch, ...]) -> str:
    return msgspec.json.encode([[match.method, match.path] for match in http]).decode()


def _load(text: str) -> tuple[HttpMatch, ...]:
    return tuple(HttpMatch(method, path) for method, path in msgspec.json.decode(text, type=list[tuple[str, str]]))
