"""Several things at once until the first of them ends. Leaves none of them behind."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")


async def first(*running: Coroutine[Any, Any, T]) -> T:
    """The result, or the error, of the first that ends; the others are cancelled, and have ended when this returns.

    Where several end in the same moment the one that stands first counts, errors before results.
    """
    tasks = [asyncio.ensure_future(each) for each in running]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        done = [task for task in tasks if task.done()]
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    for task in done:
        error = task.exception()
        if error is not None:
            raise error
    return done[0].result()
