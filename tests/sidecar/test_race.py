"""Of several things at once the first that ends counts, and none stays behind."""

from __future__ import annotations

import asyncio

import pytest

from sidecar.race import first


async def test_the_first_result_counts_and_the_others_have_been_cancelled() -> None:
    ended: list[str] = []

    async def forever() -> str:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append("forever")
        return "never"

    async def now() -> str:
        return "now"

    assert await first(forever(), now(), forever()) == "now"
    assert ended == ["forever", "forever"]


async def test_an_error_of_the_same_moment_goes_before_a_result() -> None:
    async def good() -> str:
        return "good"

    async def bad() -> str:
        raise ValueError("bad")

    with pytest.raises(ValueError, match="bad"):
        await first(good(), bad())


async def test_cancelling_the_race_cancels_every_runner() -> None:
    ended: list[int] = []
    started = asyncio.Event()

    async def forever(number: int) -> None:
        started.set()
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(number)

    task = asyncio.create_task(first(forever(1), forever(2)))
    await started.wait()
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert sorted(ended) == [1, 2]
