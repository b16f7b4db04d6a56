"""The state of every sidecar: connected, revision, ACK or NACK. Kept in memory, written to the store in the background.

Hears the streams' events on the server's event loop; never decides what a sidecar is sent.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace

import structlog

from controlplane.store.interface import SidecarRow, Store, StoreError

FLUSH_INTERVAL_SECONDS = 0.5
_log = structlog.get_logger("picket.sidecars")


class SidecarStates:
    """One row per (workload, instance)."""

    def __init__(self, store: Store, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._clock_ms = clock_ms
        # Whoever was connected to a control plane that ended is not connected to this one yet.
        self._rows = {(row.workload, row.instance): replace(row, connected=False) for row in store.sidecars()}
        self._streams: dict[tuple[str, str], int] = {}
        self._dirty: set[tuple[str, str]] = {key for key, row in self._rows.items() if row.connected_ms is not None}

    @property
    def connected_count(self) -> int:
        """Sidecars with a stream."""
        return len(self._streams)

    @property
    def nacked_count(self) -> int:
        """Sidecars that refused what they were last sent."""
        return sum(1 for row in self._rows.values() if row.nack_ms is not None and row.connected)

    def connected(self, workload: str, instance: str, version: str) -> None:
        """A stream began."""
        key = (workload, instance)
        self._streams[key] = self._streams.get(key, 0) + 1
        self._change(key, connected=True, connected_ms=self._clock_ms(), sent_version=version)

    def disconnected(self, workload: str, instance: str) -> None:
        """A stream ended; the sidecar may have another one already."""
        key = (workload, instance)
        left = self._streams.pop(key, 1) - 1
        if left > 0:
            self._streams[key] = left
        else:
            self._change(key, connected=False)

    def sent(self, workload: str, instance: str, version: str) -> None:
        """Something of a snapshot went out."""
        row = self._rows.get((workload, instance))
        if row is None or row.sent_version != version:
            self._change((workload, instance), sent_version=version)

    def acked(self, workload: str, instance: str, short_type: str, version: str, revision: int, *, settled: bool) -> None:
        """The sidecar took a response; ``settled`` when it now has the whole snapshot."""
        key = (workload, instance)
        row = self._rows.get(key)
        if row is not None and row.nack_type == short_type:
            self._change(key, nack_type="", nack_message="", nack_ms=None)
            row = self._rows[key]
        if settled and (row is None or not row.nack_type):
            self._change(key, acked_version=version, revision=revision)

    def nacked(self, workload: str, instance: str, short_type: str, message: str) -> None:
        """The sidecar refused a response and keeps what it had."""
        key = (workload, instance)
        self._change(key, nack_type=short_type, nack_message=message[:2000], nack_ms=self._clock_ms())

    def announced(
        self, workload: str, instance: str, agent: str, envoy: str, capture: str, certificate_not_after_ms: int
    ) -> None:
        """What a sidecar says of itself."""
        self._change(
            (workload, instance),
            agent_version=agent,
            envoy_version=envoy,
            capture=capture,
            certificate_not_after_ms=certificate_not_after_ms or None,
        )

    def _change(self, key: tuple[str, str], **fields: object) -> None:
        row = self._rows.get(key) or SidecarRow(*key)
        self._rows[key] = replace(row, **fields)  # type: ignore[arg-type]  # the callers above name fields of SidecarRow
        self._dirty.add(key)

    async def run(self) -> None:
        """Write what changed, until cancelled."""
        while True:
            await asyncio.sleep(FLUSH_INTERVAL_SECONDS)
            await self.flush()

    async def flush(self) -> None:
        """Write what changed."""
        dirty, self._dirty = self._dirty, set()
        if not dirty:
            return
        try:
            await asyncio.to_thread(self._write, [self._rows[key] for key in sorted(dirty)])
        except StoreError as error:
            self._dirty |= dirty
            _log.error("sidecar states not stored", error=str(error))

    def _write(self, rows: list[SidecarRow]) -> None:
        with self._store.transaction() as transaction:
            transaction.save_sidecars(rows)
