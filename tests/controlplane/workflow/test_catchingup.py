"""A change that was committed comes into force, whatever failed behind its commit."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress

import pytest

from controlplane.policy.rollouts import Plan
from controlplane.policy.rules import Mode
from controlplane.store.interface import StoreError
from controlplane.store.sql import SqlStore
from controlplane.store.stored import SidecarRow
from controlplane.store.write import SqlTransaction
from controlplane.topology.model import ServiceName
from controlplane.workflow.catchingup import CatchingUp
from controlplane.workflow.presence import Presence
from controlplane.workflow.publish import Change, Publisher
from controlplane.workflow.review import Review
from controlplane.workflow.rollouts import Rollouts
from tests.harness.mesh import NOW_MS, until

CART = ServiceName("shop", "cart")


@asynccontextmanager
async def catching_up(publisher: Publisher) -> AsyncIterator[None]:
    """While it runs."""
    running = asyncio.create_task(CatchingUp(publisher, 0.01).run())
    try:
        yield
    finally:
        running.cancel()
        with suppress(asyncio.CancelledError):
            await running


@contextmanager
def unreadable(store: SqlStore) -> Iterator[None]:
    """A database that went away behind a commit."""

    def gone() -> int:
        raise StoreError("the database refused a read: server closed the connection unexpectedly")

    with pytest.MonkeyPatch.context() as patched:
        patched.setattr(store, "active_revision", gone)
        yield


async def quarantined(publisher: Publisher) -> None:
    """Wait until the cart is."""
    await until(lambda: publisher.policy.mode(CART) is Mode.QUARANTINE)


async def test_a_change_that_could_not_be_read_back_is_pushed_when_it_can(
    store: SqlStore, publisher: Publisher, review: Review, changes: list[Change]
) -> None:
    """Whoever made it is told of the failure; it is committed all the same, and nobody makes it twice."""
    async with catching_up(publisher):
        with unreadable(store):
            with pytest.raises(StoreError):
                review.modes.change([CART], Mode.QUARANTINE, "ana")
            await asyncio.sleep(0.05)
            assert publisher.policy.mode(CART) is Mode.LEARN, "what was in force stays"
        await quarantined(publisher)
        assert [change.everyone for change in changes] == [True]


async def test_a_commit_of_which_no_answer_came_is_in_force(
    store: SqlStore, publisher: Publisher, review: Review, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The connection ended after the database had committed."""
    inner = store.transaction

    @contextmanager
    def unanswered() -> Iterator[SqlTransaction]:
        with inner() as transaction:
            yield transaction
        raise StoreError("the database refused a write: server closed the connection unexpectedly")

    monkeypatch.setattr(store, "transaction", unanswered)
    async with catching_up(publisher):
        with pytest.raises(StoreError):
            review.modes.change([CART], Mode.QUARANTINE, "ana")
        await quarantined(publisher)


async def test_what_another_control_plane_changed_is_read_when_it_can_be(
    store: SqlStore, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The word of it came, and nothing could be read then."""
    taken = asyncio.Event()

    async def told() -> AsyncIterator[None]:
        yield
        taken.set()
        await asyncio.Event().wait()

    monkeypatch.setattr(store, "changes_by_others", told)
    with store.transaction() as transaction:
        transaction.set_mode(CART, Mode.QUARANTINE, NOW_MS)
    following = asyncio.create_task(Presence(store, publisher, "b", lambda: NOW_MS, lambda: None).run())
    try:
        with unreadable(store):
            await asyncio.wait_for(taken.wait(), 5)
        assert publisher.policy.mode(CART) is Mode.LEARN
        async with catching_up(publisher):
            await quarantined(publisher)
    finally:
        following.cancel()
        await asyncio.wait((following,))


async def test_where_all_is_read_nobody_is_told_anything(
    store: SqlStore, publisher: Publisher, review: Review, changes: list[Change]
) -> None:
    """Also while a rollout is under way."""
    with store.transaction() as transaction:
        transaction.save_sidecars([SidecarRow("shop/cart", "cart-0", connected=True)])
    begun = Rollouts(store, publisher, review.modes, lambda: NOW_MS).start([CART], Plan(25, 60, 5), "ana")
    assert isinstance(begun, list)
    changes.clear()
    async with catching_up(publisher):
        await asyncio.sleep(0.1)
    assert changes == []
    with store.transaction() as transaction:
        assert transaction.pause_rollout(begun[0].id, "ben")
    async with catching_up(publisher):
        await until(lambda: bool(changes))
    assert [rollout.paused_by for rollout in publisher.in_force.rollouts.values()] == ["ben"]
