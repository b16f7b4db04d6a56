"""Brings a database to this version's schema, and refuses one that is newer or somebody else's. Knows no query.

Source: https://alembic.sqlalchemy.org/en/latest/cookbook.html#connection-sharing
"""

from __future__ import annotations

import threading

from alembic import command
from alembic.config import Config
from alembic.runtime.migration import MigrationContext
from alembic.script import ScriptDirectory
from sqlalchemy import Connection, Engine, inspect

from controlplane.store.interface import StoreError
from controlplane.store.tables import metadata

_SCRIPTS = "controlplane.store:migrations"
_ADVISORY_LOCK = 7_425_038
# Alembic keeps the migration under way in a module, so a process runs one at a time.
_migrating = threading.Lock()


def begin_write(connection: Connection) -> None:
    """Begin a transaction that may write. SQLite takes its write lock now, for a reader cannot become a writer later."""
    if connection.dialect.name == "sqlite":
        connection.exec_driver_sql("BEGIN IMMEDIATE")


def migrate(engine: Engine, shown: str) -> None:
    """Create or upgrade the tables, in one transaction; several control planes may do so at once.

    Raises:
        StoreError: the schema is newer than this program, or the tables are not Picket's. Nothing was changed.
    """
    config = Config()
    config.set_main_option("script_location", _SCRIPTS)
    scripts = ScriptDirectory.from_config(config)
    with engine.connect() as connection:
        # No more is asked before the lock is held: between two looks another control plane may have made the tables.
        if MigrationContext.configure(connection).get_current_heads() == (scripts.get_current_head(),):
            return
    with _migrating, engine.connect() as connection:
        begin_write(connection)
        if connection.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_ADVISORY_LOCK})")
        if not _is_current(connection, scripts, shown):
            config.attributes["connection"] = connection
            command.upgrade(config, "head")
        connection.commit()


def _is_current(connection: Connection, scripts: ScriptDirectory, shown: str) -> bool:
    heads = MigrationContext.configure(connection).get_current_heads()
    if not heads:
        _refuse_foreign_tables(connection, shown)
        return False
    known = {script.revision for script in scripts.walk_revisions()}
    newest = scripts.get_current_head()
    unknown = sorted(set(heads) - known)
    if unknown:
        raise StoreError(
            f"database {shown} was written by a newer Picket: its schema is {unknown[0]}, this version knows up to {newest}; "
            "start the newer version, or restore a backup made before the upgrade"
        )
    return heads == (newest,)


def _refuse_foreign_tables(connection: Connection, shown: str) -> None:
    """An SQLite file belongs to Picket alone; a PostgreSQL database may hold others' tables, of other names."""
    found = set(inspect(connection).get_table_names())
    taken = found if connection.dialect.name == "sqlite" else found & metadata.tables.keys()
    if taken:
        raise StoreError(f"database {shown} holds tables that are not Picket's ({min(taken)}); name another database")
