"""Opens databases: SQLite in WAL mode or PostgreSQL, migrated to this version. Knows no table.

Sources: https://www.sqlite.org/wal.html, https://www.sqlite.org/howtocorrupt.html (2.2),
https://docs.sqlalchemy.org/en/21/dialects/sqlite.html#pysqlite-serializable
"""

from __future__ import annotations

import os
import sqlite3
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from sqlalchemy import Engine, create_engine, event
from sqlalchemy.engine import URL, make_url
from sqlalchemy.exc import SQLAlchemyError

from controlplane.store.interface import StoreError
from controlplane.store.schema import migrate

#: How long a writer waits for the writers before it.
BUSY_TIMEOUT_SECONDS = 15.0
#: How long a PostgreSQL may take to let somebody in, unless the URL says otherwise.
CONNECT_TIMEOUT_SECONDS = 10
#: How long one that let somebody in may acknowledge nothing, its host or the network gone. The kernel would wait for a quarter of
#: an hour, and everybody who asks for something with it.
SILENCE_SECONDS = 15
_MAX_IDLE_CONNECTIONS = 10
_USAGE = "write sqlite:///path or postgresql://user@host/name"
_DRIVERS = {
    "sqlite": "sqlite+pysqlite",
    "sqlite+pysqlite": "sqlite+pysqlite",
    "postgres": "postgresql+psycopg",
    "postgresql": "postgresql+psycopg",
    "postgresql+psycopg": "postgresql+psycopg",
}


@contextmanager
def wrapped(what: str, advice: str = "") -> Iterator[None]:
    """Turn the driver's errors into ours, with their cause; only their first line, for the others may hold rows.

    Raises:
        StoreError: whatever the database said.
    """
    try:
        yield
    except SQLAlchemyError as error:
        said = str(getattr(error, "orig", None) or error).strip().splitlines()
        raise StoreError(f"{what}: {said[0] if said else type(error).__name__}{advice}") from error
    except (OverflowError, UnicodeError) as error:
        raise StoreError(f"{what}: a value does not fit: {error}") from error


def open_engine(url_text: str) -> Engine:
    """Connect, check and migrate.

    Raises:
        StoreError: not a usable URL, unreachable, not a database of Picket, or one of a newer version.
    """
    url = _parse(url_text)
    shown = _shown(url)
    sqlite = url.get_backend_name() == "sqlite"
    engine = _sqlite(url) if sqlite else _postgresql(url, shown)
    advice = (
        "; name a file that Picket may read and write, or restore a backup"
        if sqlite
        else "; check that the server runs there and lets this user in"
    )
    try:
        with wrapped(f"database {shown} cannot be used", advice):
            migrate(engine, shown)
        if sqlite:
            _make_private(Path(str(url.database)))
    except StoreError:
        engine.dispose()
        raise
    return engine


def _parse(text: str) -> URL:
    try:
        url = make_url(text)
        driver = _DRIVERS.get(url.drivername)
    except (SQLAlchemyError, ValueError):
        # Without the cause: it may quote the URL, and so the password.
        raise StoreError(f"the database URL does not read; {_USAGE}") from None
    if driver is None:
        raise StoreError(f"the database URL names {url.drivername}, which is not supported; {_USAGE}")
    if "\0" in text or not text.isprintable():
        raise StoreError(f"the database URL holds characters that cannot be printed; {_USAGE}")
    if driver.startswith("sqlite"):
        if not url.database or url.database == ":memory:" or url.host:
            raise StoreError("the database URL names no file; write sqlite:///relative/path or sqlite:////absolute/path")
        if url.query:
            raise StoreError("the database URL has options, and SQLite takes none here; write sqlite:///path")
    return url.set(drivername=driver)


def _shown(url: URL) -> str:
    """The URL for messages: no password, and no options, where one may be too."""
    if url.get_backend_name() == "sqlite":
        return str(url.database)
    host = url.host or url.query.get("host", "")
    return URL.create("postgresql", url.username, None, str(host), url.port, url.database).render_as_string()


def patience(url: URL) -> dict[str, int]:
    """How long to wait for a PostgreSQL, in its own words, as far as a URL leaves it open.

    https://www.postgresql.org/docs/current/libpq-connect.html#LIBPQ-CONNECT-CONNECT-TIMEOUT
    """
    third = max(1, SILENCE_SECONDS // 3)
    options = {
        "connect_timeout": CONNECT_TIMEOUT_SECONDS, "tcp_user_timeout": SILENCE_SECONDS * 1000, "keepalives_idle": third,
        "keepalives_interval": third, "keepalives_count": 3,
    }  # fmt: skip
    return {name: value for name, value in options.items() if name not in url.query}


def _postgresql(url: URL, shown: str) -> Engine:
    try:
        return create_engine(
            url, connect_args=patience(url), pool_size=_MAX_IDLE_CONNECTIONS, max_overflow=40, pool_pre_ping=True,
            hide_parameters=True,
        )  # fmt: skip
    except ImportError as error:
        raise StoreError(f"database {shown} needs the PostgreSQL driver; install picket[postgresql]") from error


def _sqlite(url: URL) -> Engine:
    path = Path(str(url.database))
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        # Only a new file is opened here: closing any descriptor of a file drops this process's SQLite locks on it.
        with suppress(FileExistsError):
            os.close(os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError as error:
        raise StoreError(f"database {path} cannot be made: {error.strerror}; name a place where Picket may write") from error
    engine = create_engine(
        url,
        connect_args={"timeout": BUSY_TIMEOUT_SECONDS, "check_same_thread": False},
        pool_size=_MAX_IDLE_CONNECTIONS,
        # Unbounded: writers that wait must not keep the one that writes from reading on a second connection.
        max_overflow=-1,
        hide_parameters=True,
    )

    @event.listens_for(engine, "connect")
    def prepare(connection: sqlite3.Connection, _: object) -> None:
        # The driver's own transaction control begins too late for a writer; ours begins with BEGIN IMMEDIATE.
        connection.isolation_level = None
        # FULL: what was acknowledged to a sidecar survives a power cut, not only a crash of the process.
        for pragma in ("journal_mode=WAL", "synchronous=FULL", "foreign_keys=ON"):
            connection.execute(f"PRAGMA {pragma}")

    return engine


def _make_private(path: Path) -> None:
    """Take others' access away from a database that was made by other means; SQLite's side files follow its mode."""
    for file in (path, path.with_name(path.name + "-wal"), path.with_name(path.name + "-shm")):
        try:
            if file.stat().st_mode & 0o077:
                file.chmod(0o600)
        except FileNotFoundError:
            continue
        except OSError as error:
            raise StoreError(f"database {file} is open to others and cannot be closed to them: {error.strerror}") from error
