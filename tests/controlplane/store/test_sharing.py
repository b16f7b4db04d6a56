"""Several control planes on one database: each hears what another put into force, and whose sidecars are connected to whom."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace

from controlplane.policy.rules import Mode
from controlplane.store.sql import SqlStore, open_store
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName

CART = SidecarRow("shop/cart", "cart-0", connected=True, sent_version="v1", plane="a")
WAIT_SECONDS = 20


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
