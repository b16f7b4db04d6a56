"""Who is signed in to the console, and who is about to be, as rows. Commits nothing; holds hashes alone."""

from __future__ import annotations

from sqlalchemy import Connection, Table, delete, select

from controlplane.policy.accounts import Caller
from controlplane.store import tables
from controlplane.store.accounts import scope_columns, scope_of
from controlplane.store.stored import BegunSignIn, StoredSession


def insert_session(connection: Connection, session: StoredSession, keep: int) -> None:
    """Store one; those that are over go, and all but the ``keep`` newest."""
    user = session.user
    scope = {"role": "", "namespaces": None} if user is None else scope_columns(user.scope)
    proof = session.proof if user is None else user.proof
    connection.execute(
        tables.sessions.insert().values(
            hash=session.hash, name=None if user is None else user.name, **scope, proof=proof,
            begun_ms=session.begun_ms, expires_ms=session.expires_ms,
        )
    )  # fmt: skip
    _trim(connection, tables.sessions, session.begun_ms, keep)


def select_session(connection: Connection, session_hash: str) -> StoredSession | None:
    """The one of a hash, also when it is over."""
    row = connection.execute(select(tables.sessions).where(tables.sessions.c.hash == session_hash)).mappings().first()
    if row is None:
        return None
    if row["name"] is None:
        return StoredSession(row["hash"], None, row["begun_ms"], row["expires_ms"], row["proof"])
    user = Caller(row["name"], scope_of(row), row["proof"])
    return StoredSession(row["hash"], user, row["begun_ms"], row["expires_ms"])


def delete_session(connection: Connection, session_hash: str) -> None:
    """End one."""
    connection.execute(delete(tables.sessions).where(tables.sessions.c.hash == session_hash))


def insert_sign_in(connection: Connection, begun: BegunSignIn, keep: int) -> None:
    """Store one; those that are over go, and all but the ``keep`` newest."""
    table = tables.sign_ins
    connection.execute(
        table.insert().values(hash=begun.state, browser=begun.browser, begun_ms=begun.begun_ms, expires_ms=begun.expires_ms)
    )
    _trim(connection, table, begun.begun_ms, keep)


def take_sign_in(connection: Connection, state: str) -> BegunSignIn | None:
    """Use one up: of several that take it at once, one gets it."""
    table = tables.sign_ins
    row = connection.execute(select(table).where(table.c.hash == state)).first()
    if row is None or connection.execute(delete(table).where(table.c.hash == state)).rowcount != 1:
        return None
    return BegunSignIn(row.hash, row.browser, row.begun_ms, row.expires_ms)


def _trim(connection: Connection, table: Table, now_ms: int, keep: int) -> None:
    connection.execute(delete(table).where(table.c.expires_ms <= now_ms))
    oldest = select(table.c.hash).order_by(table.c.begun_ms.desc(), table.c.hash).offset(keep)
    connection.execute(delete(table).where(table.c.hash.in_(oldest)))
