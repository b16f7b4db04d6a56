"""Says that this control plane is there, and hears what others changed that share its database. Decides nothing.

A control plane that is gone takes its sidecars' connections with it: the others mark them. One that only could not say for a while
that it is there says again whose sidecars are connected to it. Clocks of machines that share a database may differ by a few
seconds, as NTP keeps them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

import structlog

from controlplane.store.interface import Store, StoreError
from controlplane.workflow.publish import Publisher

BEAT_SECONDS = 5.0
#: Beats that may fail before a control plane counts as gone.
ALIVE_MS = 20_000
_log = structlog.get_logger("picket.presence")


class Presence:
    """One control plane among those that share a database; ``plane`` names it."""

    def __init__(
        self, store: Store, publisher: Publisher, plane: str, clock_ms: Callable[[], int], missed: Callable[[], None]
    ) -> None:
        """``missed`` hears, on the event loop, that the others took this one for gone."""
        self._store = store
        self._publisher = publisher
        self._plane = plane
        self._clock_ms = clock_ms
        self._missed = missed

    def begin(self) -> None:
        """Be there. Alone on a database, whoever was there before is gone.

        Raises:
            StoreError: the database refused.
        """
        self._beat(self._clock_ms() - ALIVE_MS if self._store.is_shared else self._clock_ms() + 1)

    def end(self) -> None:
        """Be gone.

        Raises:
            StoreError: the database refused; the others notice all the same.
        """
        with self._store.transaction() as transaction:
            transaction.leave(self._plane)

    async def run(self) -> None:
        """Go on being there, and follow the others, until cancelled; of use only on a database that is shared."""
        async with asyncio.TaskGroup() as group:
            group.create_task(self._stay())
            group.create_task(self._follow())

    async def _stay(self) -> None:
        while True:
            await asyncio.sleep(BEAT_SECONDS)
            try:
                if not await asyncio.to_thread(self._beat, self._clock_ms() - ALIVE_MS):
                    _log.warning("others took this control plane for gone", plane=self._plane)
                    self._missed()
            except StoreError as error:
                _log.warning("others may take this control plane for gone", error=str(error))

    async def _follow(self) -> None:
        async for _ in self._store.changes_by_others():
            try:
                await asyncio.to_thread(self._publisher.follow)
            except StoreError as error:
                _log.warning("what others changed is not read yet", error=str(error))

    def _beat(self, alive_since_ms: int) -> bool:
        with self._store.transaction() as transaction:
            return transaction.beat(self._plane, self._clock_ms(), alive_since_ms)
