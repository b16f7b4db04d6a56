"""Calls that are done once, as rows. Commits nothing."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update
from sqlalchemy.dialects import postgresql, sqlite

from controlplane.store import tables
from controlplane.store.interface import StoredCall


def begin_call(connection: Connection, actor: str, key: str, fingerprint: str, now_ms: int, keep: int) -> StoredCall | None:
    """Take a key: ``None`` when it was free, the call that has it otherwise. Of two that race, one inserts and one waits."""
    table = tables.calls
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    row = {"actor": actor, "key": key, "fingerprint": fingerprint, "begun_ms": now_ms, "media_type": ""}
    # Not by the count of rows, which SQLAlchemy does not keep of an insert.
    taken = insert(table).values(row).on_conflict_do_nothing().returning(table.c.key)
    if connection.execute(taken).first() is not None:
        oldest = select(table.c.key).where(table.c.actor == actor).order_by(table.c.begun_ms.desc(), table.c.key).offset(keep)
        connection.execute(delete(table).where(table.c.actor == actor, table.c.key.in_(oldest), table.c.key != key))
        return None
    query = select(table.c.fingerprint, table.c.status, table.c.media_type, table.c.body)
    found = connection.execute(query.where(_is(actor, key))).one()
    return StoredCall(found.fingerprint, found.status, found.media_type, None if found.body is None else bytes(found.body))


def end_call(connection: Connection, actor: str, key: str, status: int, media_type: str, body: bytes | None) -> None:
    """Keep how one ended."""
    connection.execute(update(tables.calls).where(_is(actor, key)).values(status=status, media_type=media_type, body=body))


def forget_call(connection: Connection, actor: str, key: str) -> None:
    """Give a key back."""
    connection.execute(delete(tables.calls).where(_is(actor, key)))


def _is(actor: str, key: str) -> ColumnElement[bool]:
    return and_(tables.calls.c.actor == actor, tables.calls.c.key == key)
