"""Calls that are done once, as rows. Commits nothing."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from controlplane.store import tables
from controlplane.store.statements import insert_once
from controlplane.store.stored import StoredCall


def begin_call(connection: Connection, actor: str, key: str, fingerprint: str, now_ms: int, keep: int) -> StoredCall | None:
    """Take a key: ``None`` when it was free, the call that has it otherwise."""
    table = tables.calls
    row = {"actor": actor, "key": key, "fingerprint": fingerprint, "begun_ms": now_ms, "media_type": ""}
    if insert_once(connection, table, row):
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
