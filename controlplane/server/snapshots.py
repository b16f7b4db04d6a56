"""Which snapshot each workload has, and who is to be woken when it changes. Never compiles one.

Lives on the server's event loop: every call is made there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from controlplane.identity.spiffe import WorkloadId
from controlplane.xds.snapshot import Snapshot

_EMPTY = Snapshot.of(())


class SnapshotCache:
    """The current snapshots. A workload that was never asked for is compiled when its first sidecar connects."""

    def __init__(self, compile_one: Callable[[WorkloadId], Snapshot | None]) -> None:
        self._compile = compile_one
        self._snapshots: dict[WorkloadId, Snapshot] = {}
        self._waiting: dict[WorkloadId, set[asyncio.Event]] = {}

    def subscribe(self, workload: WorkloadId, changed: asyncio.Event) -> Snapshot | None:
        """Register for changes; ``None`` when the topology does not know the workload."""
        snapshot = self._snapshots.get(workload)
        if snapshot is None:
            snapshot = self._compile(workload)
            if snapshot is None:
                return None
            self._snapshots[workload] = snapshot
        self._waiting.setdefault(workload, set()).add(changed)
        return snapshot

    def unsubscribe(self, workload: WorkloadId, changed: asyncio.Event) -> None:
        """End a registration; the last one also forgets the snapshot."""
        waiting = self._waiting.get(workload)
        if waiting is None:
            return
        waiting.discard(changed)
        if not waiting:
            del self._waiting[workload]
            self._snapshots.pop(workload, None)

    def current(self, workload: WorkloadId) -> Snapshot:
        """What the workload is to run now."""
        return self._snapshots.get(workload, _EMPTY)

    @property
    def watched(self) -> frozenset[WorkloadId]:
        """Workloads with a connected sidecar."""
        return frozenset(self._waiting)

    def replace(self, snapshots: Mapping[WorkloadId, Snapshot]) -> int:
        """Put new snapshots in place and wake whoever follows one that differs. Returns how many differ."""
        differing = 0
        for workload, snapshot in snapshots.items():
            if workload not in self._waiting or self._snapshots.get(workload) is snapshot:
                continue
            self._snapshots[workload] = snapshot
            differing += 1
            for changed in self._waiting[workload]:
                changed.set()
        return differing
