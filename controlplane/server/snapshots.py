"""Which snapshot each workload has, compiled when it is wanted, and who is woken when it changes. Knows no stream.

Lives on the server's event loop: every call is made there. Compiling and handing over are one step of the loop, so nobody
who connects meanwhile can be left with an older snapshot, and each sidecar has its news as soon as it is ready.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterable, Mapping
from typing import Protocol

import structlog

from controlplane.identity.spiffe import WorkloadId
from controlplane.workflow.publish import Change, CompileError, Staged
from controlplane.xds.snapshot import Snapshot

#: How long the loop compiles before it lets streams send what is ready.
SLICE_SECONDS = 0.002
_log = structlog.get_logger("picket.snapshots")


class Follower(Protocol):
    """Who follows a workload's snapshot. Both calls come on the event loop and must not wait."""

    def changed(self) -> None:
        """There is another one: `SnapshotCache.current`."""

    def confirmed(self, snapshot: Snapshot) -> None:
        """A newer revision asks for the same content."""


class SnapshotCache:
    """The current snapshots of workloads that somebody follows.

    ``compile_one`` gives a workload's snapshot, ``None`` when the topology does not know it, and may raise `CompileError`;
    ``compile_staged`` gives the one that the sidecars of a rollout's stage run instead, and may raise it, too.
    """

    def __init__(
        self,
        compile_one: Callable[[WorkloadId], Snapshot | None],
        compile_staged: Callable[[WorkloadId], Staged | None] = lambda _: None,
    ) -> None:
        self._compile = compile_one
        self._compile_staged = compile_staged
        self._staged: dict[WorkloadId, Staged] = {}
        self._snapshots: dict[WorkloadId, Snapshot] = {}
        self._followers: dict[WorkloadId, set[Follower]] = {}
        # Both in the order in which they came; a value is whether the workload is to be compiled, or only told the revision.
        self._urgent: dict[WorkloadId, None] = {}
        self._rest: dict[WorkloadId, bool] = {}
        self._failed: set[WorkloadId] = set()
        self._revision = 0
        self._wake = asyncio.Event()

    def follow(self, workload: WorkloadId, follower: Follower, instance: str = "") -> Snapshot | None:
        """Register for changes; ``None`` when the topology does not know the workload.

        Raises:
            CompileError: its snapshot cannot be compiled.
        """
        snapshot = self._snapshots.get(workload)
        if snapshot is None:
            snapshot = self._compile(workload)
            if snapshot is None:
                return None
            staged = self._compile_staged(workload)
            self._snapshots[workload] = snapshot
            if staged is not None:
                self._staged[workload] = staged
        self._followers.setdefault(workload, set()).add(follower)
        return self.current(workload, instance)

    def leave(self, workload: WorkloadId, follower: Follower) -> None:
        """End a registration; the last one also forgets the snapshot."""
        followers = self._followers.get(workload)
        if followers is None:
            return
        followers.discard(follower)
        if not followers:
            del self._followers[workload]
            del self._snapshots[workload]
            self._staged.pop(workload, None)
            self._urgent.pop(workload, None)
            self._rest.pop(workload, None)
            self._failed.discard(workload)

    def current(self, workload: WorkloadId, instance: str = "") -> Snapshot:
        """What one sidecar of a followed workload is to run now."""
        staged = self._staged.get(workload)
        return staged.snapshot if staged is not None and staged.rollout.includes(instance) else self._snapshots[workload]

    def replace(self, snapshots: Mapping[WorkloadId, Snapshot]) -> None:
        """Put new snapshots of followed workloads in place, and tell who follows them."""
        for workload, snapshot in snapshots.items():
            before = self._snapshots.get(workload)
            if before is None:
                continue
            self._snapshots[workload] = now = snapshot.sharing(before)
            for follower in self._followers[workload]:
                if now.resources is before.resources:
                    follower.confirmed(now)
                else:
                    follower.changed()

    @property
    def outdated(self) -> int:
        """Workloads whose sidecars wait for something that is in force already."""
        return len(self._urgent) + len(self._rest)

    def outdate(self, change: Change) -> None:
        """Something else is in force: bring those that it concerns up to date first, then the rest."""
        self._revision = change.revision
        for workload in self._known(change.concerned):
            self._rest.pop(workload, None)
            self._urgent[workload] = None
        for workload in self._followers:
            compiles = change.everyone or workload in self._failed or workload in self._staged or self._rest.get(workload, False)
            if workload not in self._urgent and (compiles or self._snapshots[workload].revision != change.revision):
                self._rest[workload] = compiles
        self._wake.set()

    def _known(self, workloads: Iterable[WorkloadId]) -> Iterable[WorkloadId]:
        return (workload for workload in workloads if workload in self._followers)

    async def run(self) -> None:
        """Bring up to date what is not, until cancelled."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._urgent or self._rest:
                until = time.perf_counter() + SLICE_SECONDS
                while (self._urgent or self._rest) and time.perf_counter() < until:
                    self._next()
                await asyncio.sleep(0)

    def _next(self) -> None:
        if self._urgent:
            workload, compiles = next(iter(self._urgent)), True
            del self._urgent[workload]
        else:
            workload, compiles = next(iter(self._rest.items()))
            del self._rest[workload]
        before = self._snapshots[workload]
        if not compiles:
            after: Snapshot | None = Snapshot(before.resources, self._revision, before.bundle)
            staged: Staged | None = None
        else:
            try:
                after, staged = self._compile(workload), self._compile_staged(workload)
            except CompileError as error:
                _log.error("snapshot not compiled", workload=str(workload), error=str(error))
                self._failed.add(workload)
                return
            self._failed.discard(workload)
        if after is None:
            return  # it keeps what it has: an empty configuration would be the opposite of what anyone wants
        had = self._staged.pop(workload, None)
        if staged is not None:
            self._staged[workload] = staged
        self.replace({workload: after})
        if had is not None or staged is not None:
            for follower in self._followers[workload]:
                follower.changed()  # which of both it runs may be the other by now
