"""Sees to it that what is served here is what the store holds, whatever became of the word that it changed. Decides nothing.

A change is committed, then read back and pushed. Between both the database may go away, a commit's answer may be lost, or word of
another control plane's change may come when nothing can be read: then a revoked edge would stay open until the next change.
"""

from __future__ import annotations

import asyncio

import structlog

from controlplane.store.interface import StoreError
from controlplane.workflow.publish import Publisher

LOOK_SECONDS = 2.0
_log = structlog.get_logger("picket.publish")


class CatchingUp:
    """Looks again and again whether a publisher is current, and brings it up to date where it is not."""

    def __init__(self, publisher: Publisher, look_seconds: float = LOOK_SECONDS) -> None:
        self._publisher = publisher
        self._look_seconds = look_seconds

    async def run(self) -> None:
        """Until cancelled. While the database is away what is in force stays in force."""
        while True:
            await asyncio.sleep(self._look_seconds)
            try:
                await asyncio.to_thread(self._look)
            except StoreError as error:
                _log.warning("not known whether something else is in force by now", error=str(error))

    def _look(self) -> None:
        if not self._publisher.is_current():
            self._publisher.follow()
            _log.warning("caught up with a change that was not read when it was made", revision=self._publisher.policy.revision)
