"""The batches of one telemetry stream between receipt and acknowledgement: a bounded number, in their order. Stores nothing."""

from __future__ import annotations

import asyncio
from collections import deque

from controlplane.store.interface import StoreError
from protos.picket.v1.telemetry_pb2 import BatchAck

#: What becomes of a submitted batch: ``None`` when it is committed.
Stored = asyncio.Future[StoreError | None]


class Window:
    """Filled by the stream's reader, emptied by its acknowledger."""

    def __init__(self, size: int) -> None:
        self._free = asyncio.Semaphore(size)
        self._items: deque[tuple[Stored, BatchAck]] = deque()
        self._news = asyncio.Event()
        self._closed = False
        self._last: Stored | None = None

    @property
    def failed(self) -> bool:
        """Whether the newest batch could not be stored: storing one after it would make it a gap."""
        return self._last is not None and self._last.done() and self._last.result() is not None

    async def room(self) -> None:
        """Return when another batch fits; it counts from now on."""
        await self._free.acquire()

    def add(self, stored: Stored, ack: BatchAck) -> None:
        """Put a submitted batch at the end."""
        self._last = stored
        self._items.append((stored, ack))
        self._news.set()

    def close(self) -> None:
        """Nothing is added any more."""
        self._closed = True
        self._news.set()

    async def next(self) -> BatchAck | StoreError | None:
        """The acknowledgement of the first batch and of those after it that are stored, too; ``None`` once closed and empty."""
        while not self._items:
            if self._closed:
                return None
            self._news.clear()
            await self._news.wait()
        error = await self._items[0][0]
        if error is not None:
            return error
        said = self._pop()
        while self._items and self._items[0][0].done() and self._items[0][1].epoch == said.epoch:
            if self._items[0][0].result() is not None:
                break
            said = self._pop()
        return said

    def _pop(self) -> BatchAck:
        self._free.release()
        return self._items.popleft()[1]
