"""Which image a source runs, as its sidecars say: known by where a call came from. Writes nothing, and attests nothing.

The store is asked again and again, for a source's sidecar may be connected to another control plane.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping

import structlog

from controlplane.store.interface import Store, StoreError

LOOK_SECONDS = 5.0
_log = structlog.get_logger("picket.images")


class SourceImages:
    """Image digests of workloads' replicas. Each look makes new tables, so it may be asked from any thread."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._by_place: Mapping[tuple[str, str], str] = {}
        self._alone: Mapping[str, str] = {}

    def of(self, workload: str, place: str) -> str:
        """The digest at a replica, by its instance or address; or that of all of the workload's. Empty where they differ."""
        return self._by_place.get((workload, place)) or self._alone.get(workload, "")

    def look(self) -> None:
        """Read what sidecars say.

        Raises:
            StoreError: the database refused; what was known stays.
        """
        by_place: dict[tuple[str, str], str] = {}
        running: dict[str, set[str]] = {}
        # Those that are connected last: an address of one that is gone may be another's by now.
        for row in sorted(self._store.images(), key=lambda row: (row.connected, row.connected_ms or 0)):
            for place in filter(None, (row.instance, row.address)):
                by_place[row.workload, place] = row.image_digest
            if row.connected:
                running.setdefault(row.workload, set()).add(row.image_digest)
        self._by_place = by_place
        self._alone = {workload: min(digests) for workload, digests in running.items() if len(digests) == 1}

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except StoreError as error:
                _log.error("images not read", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)
