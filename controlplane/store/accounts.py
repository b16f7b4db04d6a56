"""Users and their access tokens as rows, and back. Commits nothing; holds hashes alone."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

import msgspec
from sqlalchemy import Connection, delete, select, update

from controlplane.policy.accounts import AccessToken, Account, Scope
from controlplane.policy.roles import Role
from controlplane.store import tables
from controlplane.store.statements import insert_once, next_number

_MAX_INTEGER = 2**63 - 1


def insert_account(connection: Connection, account: Account) -> bool:
    """Store one; ``False`` when the name is taken."""
    row = {
        "name": account.name, **scope_columns(account.scope), "password": account.password, "created_ms": account.created_ms,
        "created_by": account.created_by,
    }  # fmt: skip
    return insert_once(connection, tables.accounts, row)


def change_account(connection: Connection, name: str, *, scope: Scope | None = None, password: str | None = None) -> bool:
    """Set one's scope or password; ``False`` when there is none."""
    values: dict[str, Any] = {} if scope is None else scope_columns(scope)
    if password is not None:
        values["password"] = password
    return connection.execute(update(tables.accounts).where(tables.accounts.c.name == name).values(values)).rowcount == 1


def delete_account(connection: Connection, name: str) -> bool:
    """Remove one with its tokens; ``False`` when there is none. The row goes first: who makes a token of it holds it meanwhile."""
    is_gone = connection.execute(delete(tables.accounts).where(tables.accounts.c.name == name)).rowcount == 1
    connection.execute(delete(tables.access_tokens).where(tables.access_tokens.c.account == name))
    return is_gone


def select_accounts(connection: Connection, name: str | None = None) -> list[Account]:
    """All of them or one, by name."""
    query = select(tables.accounts)
    if name is not None:
        query = query.where(tables.accounts.c.name == name)
    found = [
        Account(row["name"], scope_of(row), row["password"], row["created_ms"], row["created_by"])
        for row in connection.execute(query).mappings()
    ]
    return sorted(found, key=lambda account: account.name)


def insert_access_token(connection: Connection, token: AccessToken) -> AccessToken | None:
    """Store one under the next number; ``None`` when its account is gone, for it would be that of the next one of the name."""
    held = select(tables.accounts.c.name).where(tables.accounts.c.name == token.account).with_for_update()
    if connection.execute(held).first() is None:
        return None
    stored = replace(token, id=next_number(connection, "access-token"))
    connection.execute(
        tables.access_tokens.insert().values(
            id=stored.id, account=stored.account, label=stored.label, **scope_columns(stored.scope), hash=stored.hash,
            created_ms=stored.created_ms, created_by=stored.created_by, expires_ms=stored.expires_ms,
            last_used_ms=stored.last_used_ms, revoked_ms=stored.revoked_ms,
        )
    )  # fmt: skip
    return stored


def select_access_tokens(
    connection: Connection, *, account: str | None = None, token_hash: str | None = None, token_id: int | None = None
) -> list[AccessToken]:
    """Those of an account, of a hash or of a number, newest first."""
    table = tables.access_tokens.c
    query = select(tables.access_tokens).order_by(table.id.desc())
    if account is not None:
        query = query.where(table.account == account)
    if token_hash is not None:
        query = query.where(table.hash == token_hash)
    if token_id is not None:
        query = query.where(table.id == min(token_id, _MAX_INTEGER))
    return [_token(row) for row in connection.execute(query).mappings()]


def revoke_access_token(connection: Connection, token_id: int, now_ms: int) -> str | None:
    """Mark one as revoked; its account, ``None`` when it is already or there is none."""
    table = tables.access_tokens
    found = select_access_tokens(connection, token_id=token_id)
    changed = update(table).where(table.c.id == min(token_id, _MAX_INTEGER), table.c.revoked_ms.is_(None)).values(revoked_ms=now_ms)
    return found[0].account if connection.execute(changed).rowcount == 1 else None


def use_access_token(connection: Connection, token_id: int, now_ms: int) -> None:
    """Note the last use of one."""
    table = tables.access_tokens
    connection.execute(update(table).where(table.c.id == token_id).values(last_used_ms=now_ms))


def _token(row: Mapping[Any, Any]) -> AccessToken:
    return AccessToken(
        row["id"], row["account"], row["label"], scope_of(row), row["hash"], row["created_ms"], row["created_by"],
        row["expires_ms"], row["last_used_ms"], row["revoked_ms"],
    )  # fmt: skip


def scope_columns(scope: Scope) -> dict[str, Any]:
    """A scope as columns."""
    namespaces = None if scope.namespaces is None else msgspec.json.encode(scope.namespaces).decode()
    return {"role": str(scope.role), "namespaces": namespaces}


def scope_of(row: Mapping[Any, Any]) -> Scope:
    """The scope in these columns."""
    names = row["namespaces"]
    return Scope(Role(row["role"]), None if names is None else msgspec.json.decode(names, type=tuple[str, ...]))
