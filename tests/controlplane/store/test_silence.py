"""A PostgreSQL that answers nothing any more, with its host or the network gone, is given up soon, and found again."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from urllib.parse import parse_qs, urlsplit

import psycopg
import pytest
from sqlalchemy import text
from sqlalchemy.exc import OperationalError

from controlplane.store import engine
from controlplane.store.interface import StoreError
from controlplane.store.sql import SqlStore, open_store
from tests.harness.namespaces import Namespace, missing, two_namespaces

pytestmark = pytest.mark.skipif(bool(missing()), reason=f"no network namespaces here: {missing()}")
PORT, SLEEP_SECONDS = 5432, 100


def _carry(accepted: socket.socket, path: str) -> None:
    """Between a connection and the database's Unix socket, until either ends."""
    with accepted, socket.socket(socket.AF_UNIX) as inner, selectors.DefaultSelector() as ready, suppress(OSError):
        inner.connect(path)
        ready.register(accepted, selectors.EVENT_READ, inner)
        ready.register(inner, selectors.EVENT_READ, accepted)
        while True:
            for key, _ in ready.select():
                if not (part := key.fileobj.recv(65_536)):  # type: ignore[union-attr]  # both are sockets
                    return
                key.data.sendall(part)


@contextmanager
def listening(there: Namespace, path: str) -> Iterator[None]:
    """The database on a port in a namespace, though it knows of a Unix socket alone."""
    server = there.run(lambda: socket.create_server((there.ipv4, PORT)))

    def accept() -> None:
        with suppress(OSError):
            while True:
                threading.Thread(target=_carry, args=(server.accept()[0], path), daemon=True).start()

    accepting = threading.Thread(target=accept)
    accepting.start()
    try:
        yield
    finally:
        server.shutdown(socket.SHUT_RDWR)
        accepting.join()
        server.close()


def sleep(store: SqlStore) -> None:
    """Ask for something that takes long."""
    with store._engine.connect() as connection:
        connection.execute(text(f"SELECT pg_sleep({SLEEP_SECONDS})"))


def sleeping(url: str) -> bool:
    """Whether the database is at it."""
    asked = "SELECT count(*) FROM pg_stat_activity WHERE wait_event = 'PgSleep'"
    with psycopg.connect(url) as connection:
        return connection.execute(asked).fetchone() == (1,)


def test_who_answers_nothing_any_more_is_given_up_and_found_again(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever asks then, and whoever waits for an answer already. The kernel would wait for a quarter of an hour, or two hours."""
    monkeypatch.setattr(engine, "SILENCE_SECONDS", 2)
    monkeypatch.setattr(engine, "CONNECT_TIMEOUT_SECONDS", 2)
    parsed = urlsplit(postgresql_url)
    with two_namespaces() as (here, there), listening(there, f"{parse_qs(parsed.query)['host'][0]}/.s.PGSQL.{PORT}"):
        store = here.run(lambda: open_store(f"postgresql://{parsed.username}@{there.ipv4}:{PORT}{parsed.path}"))
        with closing(store), ThreadPoolExecutor(1) as threads:
            here.run(store.ping)
            waiting = threads.submit(here.run, partial(sleep, store))
            while not sleeping(postgresql_url):
                time.sleep(0.05)
            there.command("nft", "add table inet gone; add chain inet gone in { type filter hook input priority 0; policy drop; }")
            began = time.monotonic()
            with pytest.raises(StoreError):
                here.run(store.ping)
            with pytest.raises(OperationalError):
                waiting.result(30)
            assert time.monotonic() - began < 20
            there.command("nft", "delete table inet gone")
            here.run(store.ping)
            here.run(store.close)
