"""Full searches for garbage wait for a quiet moment, but not for ever, and Python decides again afterwards."""

from __future__ import annotations

import asyncio
import gc
import weakref
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from controlplane.collection import FullCollections


class Knot:
    """Garbage that only a search finds."""

    def __init__(self) -> None:
        self.itself = self


def old_garbage() -> weakref.ref[Knot]:
    knot = Knot()
    gc.collect(1)  # it is old now: only a full search looks at it
    return weakref.ref(knot)


@asynccontextmanager
async def running(collections: FullCollections) -> AsyncIterator[None]:
    task = asyncio.create_task(collections.run())
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait({task})


async def until(reached: Callable[[], bool]) -> None:
    for _ in range(10_000):
        if reached():
            return
        await asyncio.sleep(0.001)
    raise AssertionError("it was never reached")


async def test_a_search_that_is_due_is_made_in_a_quiet_moment() -> None:
    busy = True
    collections = FullCollections(lambda: busy, look_seconds=0.001, due_after=0, patience_seconds=1_000)
    garbage = old_garbage()
    async with running(collections):
        await asyncio.sleep(0.05)
        assert garbage() is not None
        busy = False
        await until(lambda: collections.made > 0)
    assert garbage() is None


async def test_patience_ends() -> None:
    collections = FullCollections(lambda: True, look_seconds=0.001, due_after=0, patience_seconds=0.01)
    garbage = old_garbage()
    async with running(collections):
        await until(lambda: collections.made > 0)
    assert garbage() is None


async def test_none_is_made_before_it_is_due_not_even_by_python() -> None:
    before = gc.get_threshold()
    collections = FullCollections(lambda: False, look_seconds=0.001, due_after=1_000_000)
    garbage = old_garbage()
    async with running(collections):
        await asyncio.sleep(0.01)
        kept = [[] for _ in range(300_000)]  # type: list[list[int]]
        assert len(kept) == 300_000
        assert garbage() is not None
        assert collections.made == 0
    assert gc.get_threshold() == before
    gc.collect()
    assert garbage() is None
