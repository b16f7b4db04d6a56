"""Edges that were asked for as rows, and back. Commits nothing, and never says whether one is approved."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from sqlalchemy import Connection, select, update

from controlplane.policy.asks import Ask
from controlplane.policy.documents import parse_source
from controlplane.policy.rules import Rule
from controlplane.store import tables
from controlplane.store.matches import dump_matches, load_matches
from controlplane.store.statements import next_number, parts
from controlplane.topology.model import parse_service_name


def insert_ask(connection: Connection, ask: Ask) -> Ask:
    """Store one under the next number."""
    stored = replace(ask, id=next_number(connection, "ask"))
    connection.execute(
        tables.asks.insert().values(
            id=stored.id, service=str(stored.service), source=str(stored.rule.source), port=stored.rule.port,
            http=dump_matches(stored.rule.http), protocol=stored.protocol, actor=stored.actor, reason=stored.reason,
            link=stored.link, created_ms=stored.created_ms, closed_ms=stored.closed_ms, closed_by=stored.closed_by,
        )
    )  # fmt: skip
    return stored


def close_asks(connection: Connection, asks: Sequence[int], closed_by: str, now_ms: int) -> None:
    """Mark some as decided; those that are already stay as they are."""
    table = tables.asks
    for part in parts(asks):
        statement = update(table).where(table.c.id.in_(part), table.c.closed_ms.is_(None))
        connection.execute(statement.values(closed_ms=now_ms, closed_by=closed_by))


def select_asks(connection: Connection, limit: int, after: int = 0) -> list[Ask]:
    """Those that are open, oldest first."""
    table = tables.asks.c
    query = select(tables.asks).where(table.closed_ms.is_(None), table.id > after).order_by(table.id).limit(limit)
    return [
        Ask(
            row.id, parse_service_name(row.service), Rule(parse_source(row.source), row.port, load_matches(row.http)),
            row.protocol, row.actor, row.reason, row.link, row.created_ms,
        )
        for row in connection.execute(query)
    ]  # fmt: skip
