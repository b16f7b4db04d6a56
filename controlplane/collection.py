"""When Python looks for garbage. A full search stops everything, a tenth of a second at a thousand sidecars: it waits for quiet.

Young objects are searched as always. https://docs.python.org/3/library/gc.html#gc.set_threshold
"""

from __future__ import annotations

import asyncio
import gc
from collections.abc import Callable

LOOK_SECONDS = 0.5
#: Searches of the middle generation, some 7,000 new objects each, that make a full one due.
DUE_AFTER = 50
#: A full search that is due waits so long for a quiet moment, and then no longer.
PATIENCE_SECONDS = 10.0
_NEVER = 1_000_000_000


class FullCollections:
    """Makes the full searches of a process. ``is_busy`` says whether somebody waits for what the loop does."""

    def __init__(
        self,
        is_busy: Callable[[], bool],
        *,
        look_seconds: float = LOOK_SECONDS,
        due_after: int = DUE_AFTER,
        patience_seconds: float = PATIENCE_SECONDS,
    ) -> None:
        self._is_busy = is_busy
        self._look_seconds = look_seconds
        self._due_after = due_after
        self._patience_seconds = patience_seconds
        self.made = 0

    async def run(self) -> None:
        """Until cancelled; then Python decides again."""
        before = gc.get_threshold()
        gc.set_threshold(before[0], before[1], _NEVER)
        try:
            await self._run()
        finally:
            gc.set_threshold(*before)

    async def _run(self) -> None:
        waited_seconds = 0.0
        while True:
            await asyncio.sleep(self._look_seconds)
            if gc.get_count()[2] < self._due_after:
                continue
            if self._is_busy() and waited_seconds < self._patience_seconds:
                waited_seconds += self._look_seconds
                continue
            waited_seconds = 0.0
            gc.collect()
            self.made += 1
