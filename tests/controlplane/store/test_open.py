"""Opening databases: migrations, privacy of the file, and databases that cannot be used."""

from __future__ import annotations

import os
import socket
import sqlite3
import stat
import traceback
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from alembic import command, op
from alembic.autogenerate import compare_metadata
from alembic.config import Config
from alembic.migration import MigrationContext
from hypothesis import example, given, settings
from hypothesis import strategies as st
from sqlalchemy import create_engine, event
from sqlalchemy.engine import make_url

from controlplane.policy.audit import Chain, Intact
from controlplane.store.engine import open_engine
from controlplane.store.interface import StoreError
from controlplane.store.schema import migrate
from controlplane.store.sql import SqlStore, open_store
from controlplane.store.tables import metadata


def refused(url: str) -> str:
    """What opening says; the vendor's part of the story included, the way a log would hold it."""
    with pytest.raises(StoreError) as caught:
        open_store(url)
    assert "hunter2" not in "".join(traceback.format_exception(caught.value))
    return str(caught.value)


def run_sql(url: str, statement: str) -> None:
    """Change a database behind the store's back."""
    parsed = make_url(url)
    driver = "postgresql+psycopg" if parsed.get_backend_name() == "postgresql" else "sqlite"
    engine = create_engine(parsed.set(drivername=driver))
    with engine.begin() as connection:
        connection.exec_driver_sql(statement)
    engine.dispose()


def test_migrations_make_the_tables_that_queries_expect(url: str) -> None:
    """After the last migration the database has exactly what `tables` describes."""
    engine = open_engine(url)
    with engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, metadata) == []
    engine.dispose()


def test_control_planes_may_open_a_new_database_at_once(url: str) -> None:
    """Whoever comes first makes the tables; the others wait for it."""
    with ThreadPoolExecutor(6) as threads:
        stores = list(threads.map(lambda _: open_store(url), range(6)))
    for store in stores:
        store.ping()
        store.close()


def test_tables_that_another_one_makes_meanwhile_are_not_foreign(url: str) -> None:
    """Between two looks of one that opens a new database, another one makes it."""
    driver = make_url(url).get_backend_name() + ("+pysqlite" if url.startswith("sqlite") else "+psycopg")
    engine = create_engine(make_url(url).set(drivername=driver))
    event.listen(engine, "after_cursor_execute", lambda *_: open_store(url).close(), once=True)
    migrate(engine, "here")
    engine.dispose()
    open_store(url).close()


def test_a_newer_database_is_refused(url: str) -> None:
    """A schema that this version does not know is left alone, and the message says what, where and what to do."""
    open_store(url).close()
    run_sql(url, "UPDATE alembic_version SET version_num = '9999'")
    message = refused(url)
    assert "newer Picket" in message
    assert "9999" in message
    assert str(make_url(url).database) in message
    assert "start the newer version, or restore a backup" in message


def test_another_programs_database_is_refused(url: str) -> None:
    """Tables of the same name that Picket did not make are not touched."""
    run_sql(url, "CREATE TABLE edges (x INTEGER)")
    assert "holds tables that are not Picket's (edges)" in refused(url)
    run_sql(url, "INSERT INTO edges VALUES (1)")


def test_an_interrupted_migration_leaves_nothing(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """A migration that fails halfway is undone whole, and the next opening succeeds."""
    with monkeypatch.context() as patched:
        patched.setattr(op, "bulk_insert", lambda *_: op.execute("SELECT * FROM missing_table"))
        assert "cannot be used" in refused(url)
    open_store(url).close()


def test_events_from_before_the_chain_are_chained(url: str) -> None:
    """What the audit log held under an older version is intact under this one."""
    store = open_store(url)
    with store.transaction() as transaction:
        for subject in ("1", "2", "3"):
            transaction.add_audit("ana", "proposal:approve", subject, '{"edges": 1}', 7)
    before = store.audit_after(0, 9)
    store.close()
    config = Config()
    config.set_main_option("script_location", "controlplane.store:migrations")
    engine = open_engine(url)
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.downgrade(config, "0002")
    engine.dispose()
    store = open_store(url)
    assert store.audit_after(0, 9) == before
    chain = Chain()
    chain.follow(before)
    assert isinstance(chain.verdict(), Intact)
    store.close()


def test_the_sqlite_file_is_private(tmp_path: Path) -> None:
    """A new database and its side files, in a new directory, are the owner's alone, whatever the umask."""
    path = tmp_path / "new" / "picket.db"
    before = os.umask(0)
    try:
        store = open_store(f"sqlite:///{path}")
        with store.transaction() as transaction:
            transaction.add_audit("a", "b", "c", "{}", 1)
        files = sorted(path.parent.iterdir())
        assert [file.name for file in files] == ["picket.db", "picket.db-shm", "picket.db-wal"]
        assert {stat.S_IMODE(file.stat().st_mode) for file in files} == {0o600}
        assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
        store.close()
    finally:
        os.umask(before)


def test_an_open_sqlite_file_is_made_private(tmp_path: Path) -> None:
    """A database that others may read, as a restored backup may be, is closed to them."""
    path = tmp_path / "picket.db"
    open_store(f"sqlite:///{path}").close()
    path.chmod(0o644)
    open_store(f"sqlite:///{path}").close()
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_opening_twice_keeps_the_first_ones_locks(tmp_path: Path) -> None:
    """Opening a database that this process writes to does not let another process write beside it."""
    path = tmp_path / "picket.db"
    store = open_store(f"sqlite:///{path}")
    with store.transaction() as transaction:
        transaction.add_audit("a", "b", "c", "{}", 1)
        open_store(f"sqlite:///{path}").close()
        # Locks are the process's own, so another process has to try them.
        child = os.fork()
        if child == 0:
            try:
                other = sqlite3.connect(path, timeout=0, isolation_level=None)
                other.execute("BEGIN IMMEDIATE")
            except sqlite3.OperationalError:
                os._exit(7)
            os._exit(0)
        assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    assert len(store.audit(10)) == 1
    store.close()


def test_sqlite_is_set_up_for_several_readers_and_power_cuts(tmp_path: Path) -> None:
    """Every connection has WAL, full synchronisation, foreign keys and a time to wait."""
    engine = open_engine(f"sqlite:///{tmp_path}/picket.db")
    with engine.connect() as connection:
        pragmas = ("journal_mode", "synchronous", "foreign_keys", "busy_timeout")
        found = [connection.exec_driver_sql(f"PRAGMA {pragma}").scalar() for pragma in pragmas]
    assert found == ["wal", 2, 1, 15_000]
    engine.dispose()


@pytest.mark.parametrize("content", [b"not a database at all, but long enough" * 60, b"SQLite format 3\0" + b"\xff" * 4096])
def test_a_file_that_is_no_database_is_refused_and_kept(tmp_path: Path, content: bytes) -> None:
    """Whatever stands in the file's place is neither used nor changed."""
    path = tmp_path / "picket.db"
    path.write_bytes(content)
    message = refused(f"sqlite:///{path}")
    assert str(path) in message
    assert "name a file that Picket may read and write, or restore a backup" in message
    assert path.read_bytes() == content


def test_a_damaged_database_is_a_store_error(tmp_path: Path) -> None:
    """Pages that were overwritten are found when they are read, and said in the store's own words."""
    path = tmp_path / "picket.db"
    store = open_store(f"sqlite:///{path}")
    with store.transaction() as transaction:
        for number in range(200):
            transaction.add_revision("ana", "", f'{{"n":"{number:01000}"}}', 1)
    store.close()
    content = path.read_bytes()
    path.write_bytes(content[:8192] + b"\xa5" * (len(content) - 8192))

    def use() -> None:
        damaged = open_store(f"sqlite:///{path}")
        try:
            damaged.revisions(1_000)
        finally:
            damaged.close()

    with pytest.raises(StoreError, match=r"malformed|not a database|disk image"):
        use()


def test_a_directory_in_the_files_place_is_refused(tmp_path: Path) -> None:
    """A path that is a directory, or lies below a file, is said to be unusable."""
    assert "cannot be used" in refused(f"sqlite:///{tmp_path}")
    (tmp_path / "file").touch()
    assert "cannot be made" in refused(f"sqlite:///{tmp_path}/file/picket.db")


def test_a_wrong_password_is_refused_and_not_told(as_superuser: Callable[[str], None], postgresql_url: str) -> None:
    """The server's refusal comes through, with the user and the place, and without the password."""
    parsed = make_url(postgresql_url)
    as_superuser("DROP ROLE IF EXISTS secretive")
    as_superuser("CREATE ROLE secretive LOGIN PASSWORD 'right'")
    try:
        socket_directory = parsed.query["host"]
        message = refused(f"postgresql://secretive:hunter2@/{parsed.database}?host={socket_directory}")
        assert "password authentication failed" in message
        assert "secretive" in message
        assert str(parsed.database) in message
        assert "check that the server runs there and lets this user in" in message
        in_query = refused(f"postgresql://secretive@/{parsed.database}?host={socket_directory}&password=hunter2")
        assert "password authentication failed" in in_query
    finally:
        as_superuser("DROP ROLE secretive")


def test_an_unreachable_server_is_refused() -> None:
    """A port where nothing listens is a StoreError that says where."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        port = taken.getsockname()[1]
        assert f"127.0.0.1:{port}/picket" in refused(f"postgresql://ana:hunter2@127.0.0.1:{port}/picket")


def test_a_server_that_restarts_is_found_again(postgresql_url: str, as_superuser: Callable[[str], None]) -> None:
    """Connections that the server ended are replaced, so that the next use succeeds."""
    store: SqlStore = open_store(postgresql_url)
    store.ping()
    database = make_url(postgresql_url).database
    as_superuser(f"SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{database}'")
    store.ping()
    store.close()


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("", "does not read"),
        ("picket.db", "does not read"),
        ("postgresql://ana:hunter2@host:port:1/x", "does not read"),
        ("postgresql://ana:hun@ter2:hunter2/x", "does not read"),
        ("mysql://ana:hunter2@host/x", "not supported"),
        ("postgresql+asyncpg://ana:hunter2@host/x", "not supported"),
        ("sqlite://", "names no file"),
        ("sqlite:///:memory:", "names no file"),
        ("sqlite://picket.db", "names no file"),
        ("sqlite:///picket.db?mode=ro", "has options"),
    ],
)
def test_a_url_that_is_wrong_is_refused(url: str, said: str) -> None:
    """Each mistake is named, with the form that is wanted, and a password in it is not told."""
    message = refused(url)
    assert said in message
    assert "sqlite:///" in message


@settings(max_examples=150, deadline=None)
@given(st.text(max_size=60))
@example("postgresql://a:hunter2@[::1/x")
@example("postgresql://@:99999/x")
@example("sqlite:///a\x00b")
def test_any_text_is_a_url_or_a_store_error(text: str) -> None:
    """No text that is no database's URL opens anything or raises anything but a StoreError."""
    if text.startswith("sqlite:///") and "\x00" not in text:
        return
    with pytest.raises(StoreError):
        open_store(text)
