"""Several control planes on one database: each hears what another put into force, and whose sidecars are connected to whom."""

from __future__ import annotations

import asyncio
import tempfile
from collections.abc import AsyncIterator, Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import pytest
from sqlalchemy.engine import make_url

from controlplane.policy.rules import Mode
from controlplane.store import waking
from controlplane.store.sql import SqlStore, open_store
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName
from sidecar.race import first

CART = SidecarRow("shop/cart", "cart-0", connected=True, sent_version="v1", plane="a")
WAIT_SECONDS = 20
SOCKET_NAME = ".s.PGSQL.5432"


class Heard:
    """What one store hears of the others."""

    def __init__(self, store: SqlStore) -> None:
        self._store = store
        self._items: asyncio.Queue[None] = asyncio.Queue()

    @asynccontextmanager
    async def listening(self) -> AsyncIterator[Heard]:
        task = asyncio.create_task(self._listen())
        try:
            await self.one()  # it may have missed something before
            yield self
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    async def one(self) -> None:
        async with asyncio.timeout(WAIT_SECONDS):
            await self._items.get()

    @property
    def waiting(self) -> int:
        return self._items.qsize()

    async def _listen(self) -> None:
        async for change in self._store.changes_by_others():
            self._items.put_nowait(change)


class Network:
    """Lies between a store and its database. What the ``silenced`` one of its connections sends or is sent is lost."""

    def __init__(self, database: Path) -> None:
        self._database = database
        self.silenced = -1
        self.connections: list[asyncio.Task[None]] = []

    def accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections.append(asyncio.create_task(self._carry(len(self.connections), reader, writer)))

    async def _carry(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        inner_reader, inner_writer = await asyncio.open_unix_connection(str(self._database / SOCKET_NAME))
        try:
            await first(self._copy(number, reader, inner_writer), self._copy(number, inner_reader, writer))
        finally:
            inner_writer.close()
            writer.close()

    async def _copy(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while part := await reader.read(65_536):
            if number != self.silenced:
                writer.write(part)


@asynccontextmanager
async def between(directory: Path, database: Path) -> AsyncIterator[Network]:
    """A network whose end is a socket in a directory."""
    network = Network(database)
    server = await asyncio.start_unix_server(network.accepted, str(directory / SOCKET_NAME))
    try:
        yield network
    finally:
        server.close()
        for task in network.connections:
            task.cancel()
        await asyncio.gather(*network.connections, return_exceptions=True)


def publish(store: SqlStore) -> None:
    with store.transaction() as transaction:
        transaction.set_active_revision(transaction.add_revision("ana", "", "{}", 1).number)


async def test_what_one_puts_into_force_wakes_the_others_and_not_itself(postgresql_url: str) -> None:
    """Also modes and rollouts do; reports do not."""
    ours, theirs = open_store(postgresql_url), open_store(postgresql_url)
    try:
        async with Heard(ours).listening() as here, Heard(theirs).listening() as there:
            publish(ours)
            await there.one()
            with theirs.transaction() as transaction:
                transaction.record_batch("shop/cart", "0", "a" * 32, 1, [], 0, 1)
                transaction.save_sidecars([CART])
            with theirs.transaction() as transaction:
                transaction.set_mode(ServiceName("shop", "cart"), Mode.AUDIT, 1)
            await here.one()
            assert (here.waiting, there.waiting) == (0, 0)
    finally:
        ours.close()
        theirs.close()


async def test_what_is_undone_wakes_nobody(postgresql_url: str) -> None:
    ours, theirs = open_store(postgresql_url), open_store(postgresql_url)
    try:
        async with Heard(theirs).listening() as there:
            with suppress(RuntimeError), ours.transaction() as transaction:
                transaction.set_mode(ServiceName("shop", "cart"), Mode.AUDIT, 1)
                raise RuntimeError
            publish(ours)
            await there.one()
            assert there.waiting == 0
    finally:
        ours.close()
        theirs.close()


async def test_a_lost_connection_is_made_again_and_counts_as_a_change(
    postgresql_url: str, as_superuser: Callable[[str], None]
) -> None:
    store = open_store(postgresql_url)
    try:
        async with Heard(store).listening() as heard:
            as_superuser("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE query LIKE 'LISTEN%'")
            await heard.one()
    finally:
        store.close()


async def test_a_connection_that_died_without_a_word_is_made_again(postgresql_url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its host is gone, say: nothing comes any more, no end of the connection either."""
    monkeypatch.setattr(waking, "CHECK_SECONDS", 0.2)
    parsed = make_url(postgresql_url)
    with tempfile.TemporaryDirectory() as directory:
        async with between(Path(directory), Path(str(parsed.query["host"]))) as network:
            url = parsed.update_query_dict({"host": directory}).render_as_string(hide_password=False)
            store = await asyncio.to_thread(open_store, url)
            try:
                async with Heard(store).listening() as heard:
                    network.silenced = len(network.connections) - 1
                    await heard.one()
            finally:
                await asyncio.to_thread(store.close)


async def test_who_is_alone_hears_nothing(tmp_path: object) -> None:
    store = open_store(f"sqlite:///{tmp_path}/picket.db")
    try:
        assert not store.is_shared
        assert [change async for change in store.changes_by_others()] == []
    finally:
        store.close()


def connected(store: SqlStore) -> dict[str, str]:
    """Whom each connected sidecar is connected to."""
    return {row.instance: row.plane for row in store.sidecars() if row.connected}


def test_a_control_plane_that_is_gone_takes_its_connections_with_it(store: SqlStore) -> None:
    with store.transaction() as transaction:
        transaction.beat("a", 1_000, 0)
        transaction.save_sidecars([CART, replace(CART, instance="cart-1", plane="b")])
        transaction.beat("b", 2_000, 0)
    assert connected(store) == {"cart-0": "a", "cart-1": "b"}
    with store.transaction() as transaction:
        transaction.beat("b", 30_000, 1_500)
    assert connected(store) == {"cart-1": "b"}
    with store.transaction() as transaction:
        transaction.leave("b")
    assert connected(store) == {}


def test_one_that_could_not_say_that_it_is_there_is_told_that_it_counted_as_gone(store: SqlStore) -> None:
    """The database was away, say, and another came back to it first."""
    with store.transaction() as transaction:
        assert not transaction.beat("a", 1_000, 0), "it is new"
        assert not transaction.beat("b", 1_000, 0)
        transaction.save_sidecars([CART])
    with store.transaction() as transaction:
        assert transaction.beat("b", 60_000, 40_000)
        assert not transaction.beat("a", 61_000, 41_000)
        assert transaction.beat("a", 66_000, 46_000)
    assert connected(store) == {}, "who says that it is there does not say who is connected to it"


def test_whoever_says_that_it_is_there_waits_for_nobody(postgresql_url: str) -> None:
    """Sidecars of one that is gone come over to another, which writes them down: two that wait crosswise would both fail."""
    ours, theirs = open_store(postgresql_url), open_store(postgresql_url)

    def beat() -> None:
        with theirs.transaction() as transaction:
            transaction.beat("b", 30_000, 1_500)

    try:
        with ours.transaction() as transaction:
            transaction.beat("a", 1_000, 0)
            transaction.save_sidecars([CART, replace(CART, instance="cart-1")])
        with ThreadPoolExecutor(1) as threads, ours.transaction() as transaction:
            transaction.save_sidecars([replace(CART, plane="c")])
            threads.submit(beat).result(WAIT_SECONDS)
        assert connected(ours) == {"cart-0": "c"}
        beat()
        assert connected(ours) == {}
    finally:
        ours.close()
        theirs.close()


def test_one_that_lost_a_sidecar_to_another_does_not_say_it_is_gone(store: SqlStore) -> None:
    """Its stream may end later than the next one begins elsewhere."""
    with store.transaction() as transaction:
        transaction.beat("a", 1, 0)
        transaction.beat("b", 1, 0)
        transaction.save_sidecars([CART])
    with store.transaction() as transaction:
        transaction.save_sidecars([replace(CART, plane="b", sent_version="v2")])
    with store.transaction() as transaction:
        transaction.save_sidecars([replace(CART, connected=False)])
    assert connected(store) == {"cart-0": "b"}
    assert store.sidecars()[0].sent_version == "v2"
    with store.transaction() as transaction:
        transaction.save_sidecars([replace(CART, plane="b", connected=False)])
    assert connected(store) == {}
