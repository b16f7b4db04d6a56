"""Statements that SQLite and PostgreSQL spell differently: upserts, least and greatest, and numbers in series."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, TypeVar

from sqlalchemy import Column, ColumnElement, Connection, Select, Table, bindparam, func, insert, select, update
from sqlalchemy.dialects import postgresql, sqlite

from controlplane.store import tables

MAX_SUM = 2**62
#: Values of one statement's list: older SQLite takes 999 in all.
_LISTED = 500
Value = TypeVar("Value")


def upsert(
    connection: Connection,
    table: Table,
    rows: Sequence[Mapping[str, Any]],
    changes: Mapping[str, str] | None = None,
    *,
    only: Callable[[Any], ColumnElement[bool]] | None = None,
) -> None:
    """Insert rows, which have distinct keys; where the key is taken, change that row.

    ``changes`` says how, by column: ``new`` replaces, ``add`` sums, ``least`` and ``greatest`` keep one of both, ``known``
    replaces by what is not null. Columns that it leaves out stay; ``None`` replaces everything and ``{}`` nothing.
    ``only`` gets the columns of the new row and says whether the one that is there may be changed at all.
    """
    if not rows:
        return
    postgres = connection.dialect.name == "postgresql"
    statement: Any = postgresql.insert(table) if postgres else sqlite.insert(table)
    keys = [column.name for column in table.primary_key]
    if changes is None:
        changes = {column.name: "new" for column in table.c if column.name not in keys}
    if changes:
        values = {name: _changed(how, table.c[name], statement.excluded[name], postgres=postgres) for name, how in changes.items()}
        statement = statement.on_conflict_do_update(
            index_elements=keys, set_=values, where=None if only is None else only(statement.excluded)
        )
    else:
        statement = statement.on_conflict_do_nothing(index_elements=keys)
    _execute_many(connection, statement, rows)


def insert_once(connection: Connection, table: Table, row: Mapping[str, Any]) -> bool:
    """Insert a row; ``False`` when its key is taken. Of two that race, one inserts, and the other waits for its commit."""
    postgres = connection.dialect.name == "postgresql"
    statement: Any = postgresql.insert(table) if postgres else sqlite.insert(table)
    # What comes back, for PostgreSQL's driver counts no rows here.
    made = statement.values(dict(row)).on_conflict_do_nothing().returning(*table.primary_key.columns)
    return connection.execute(made).first() is not None


def _execute_many(connection: Connection, statement: Any, rows: Sequence[Mapping[str, Any]]) -> None:
    """As ``connection.execute(statement, rows)``, which looks at each value of each row: this is twice as fast."""
    compiled = statement.compile(dialect=connection.dialect, column_keys=list(rows[0]))
    constant = {name: value for name, value in compiled.params.items() if name not in rows[0]}
    named = [{**constant, **row} for row in rows] if constant else rows
    if compiled.positiontup is None:
        connection.exec_driver_sql(compiled.string, [dict(row) for row in named])
    else:
        connection.exec_driver_sql(compiled.string, [tuple(row[name] for name in compiled.positiontup) for row in named])


def add_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]]) -> None:
    """Insert rows that are known to be new."""
    if rows:
        connection.execute(insert(table), list(rows))


def change_rows(connection: Connection, table: Table, rows: Sequence[Mapping[str, Any]], changes: Mapping[str, str]) -> None:
    """Change rows that are known to exist; each of ``rows`` holds the whole key and the columns of ``changes`` (see `upsert`)."""
    if not rows:
        return
    postgres = connection.dialect.name == "postgresql"
    keys = [column.name for column in table.primary_key]
    statement = update(table).where(*(table.c[name] == bindparam(f"new_{name}") for name in keys))
    values = {
        name: _changed(how, table.c[name], bindparam(f"new_{name}", type_=table.c[name].type), postgres=postgres)
        for name, how in changes.items()
    }
    parameters = [{f"new_{name}": row[name] for name in (*keys, *changes)} for row in rows]
    connection.execute(statement.values(values), parameters)


def _changed(how: str, old: ColumnElement[Any], new: ColumnElement[Any], *, postgres: bool) -> ColumnElement[Any]:
    match how:
        case "new":
            return new
        case "add":
            # Sums stop far below what 64 bits hold: one that overflows would fail the transactions of everybody.
            return func.least(old + new, MAX_SUM) if postgres else func.min(old + new, MAX_SUM)
        case "least":
            return func.least(old, new) if postgres else func.min(old, new)
        case "greatest":
            return func.greatest(old, new) if postgres else func.max(old, new)
        case "known":
            return func.coalesce(new, old)
    raise ValueError(f"{how!r} is no way to change a column")


def parts(values: Collection[Value]) -> Iterator[list[Value]]:
    """Values for the lists of several statements (``IN``), none of them too long for a database."""
    listed = list(values)
    return (listed[start : start + _LISTED] for start in range(0, len(listed), _LISTED))


def newest(number: Column[Any], limit: int, before: int | None) -> Select[Any]:
    """Rows of a numbered table, newest first; with ``before`` those of lower numbers."""
    query = select(number.table).order_by(number.desc()).limit(limit)
    return query if before is None else query.where(number < before)


def lock_number(connection: Connection, series: str) -> int:
    """The last number of a series. Nobody else takes one until this transaction ends."""
    query = select(tables.counters.c.value).where(tables.counters.c.name == series).with_for_update()
    return int(connection.execute(query).scalar_one())


def next_number(connection: Connection, series: str) -> int:
    """The next number of a series, without gaps: a rollback gives it back, and other takers wait for the commit."""
    number = lock_number(connection, series) + 1
    set_number(connection, series, number)
    return number


def set_number(connection: Connection, series: str, number: int) -> None:
    """Store the last number given out of a locked series."""
    connection.execute(update(tables.counters).where(tables.counters.c.name == series).values(value=number))
