"""Whatever changes in whatever order, what each sidecar has is what compiling everything anew would give it."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.documents import dump_policy
from controlplane.policy.rules import Mode, Policy
from controlplane.server.snapshots import SnapshotCache
from controlplane.store.sql import SqlStore, open_store
from controlplane.workflow.publish import Publisher
from controlplane.xds.compile import Compiler
from controlplane.xds.snapshot import Snapshot
from tests.controlplane.workflow.changing import NAMES, Step, steps
from tests.controlplane.xds.worlds import TRUST
from tests.harness.mesh import NOW_MS, until


class Sidecar:
    """A follower that takes what it is told of, and counts."""

    def __init__(self, cache: SnapshotCache, workload: WorkloadId) -> None:
        self._cache, self._workload = cache, workload
        self.has = cache.follow(workload, self)
        self.pushes = 0

    def changed(self) -> None:
        self.pushes += 1
        self.has = self._cache.current(self._workload)

    def confirmed(self, snapshot: Snapshot) -> None:
        self.has = snapshot


def put_into_force(store: SqlStore, policy: Policy) -> None:
    """Its rules and its modes, as the next revision."""
    with store.transaction() as transaction:
        transaction.set_active_revision(transaction.add_revision("ana", "", dump_policy(policy), NOW_MS).number)
        for name in NAMES:
            transaction.set_mode(name, policy.mode(name), NOW_MS)


async def walk(store: SqlStore, changes: list[Step]) -> None:
    """Take each step, and hold everybody's snapshot against one that nothing was remembered for."""
    publisher = Publisher(store, changes[0].before, Compiler(TRUST), Mode.ENFORCE)
    cache = SnapshotCache(publisher.snapshot, publisher.staged)
    publisher.connect(cache.outdate)
    running = asyncio.create_task(cache.run())
    sidecars: dict[WorkloadId, Sidecar] = {}
    try:
        for step in changes:
            for topology, policy in ((step.before, step.policy), (step.after, step.policy), (step.after, step.later)):
                put_into_force(store, policy)
                publisher.declare(topology)
                await until(lambda: not cache.outdated)
                check(publisher, sidecars)
            for workload in publisher.topology.by_workload.keys() - sidecars.keys():
                sidecars[workload] = Sidecar(cache, workload)
    finally:
        running.cancel()
        await asyncio.wait((running,))
    assert running.cancelled()


def check(publisher: Publisher, sidecars: dict[WorkloadId, Sidecar]) -> None:
    """Who is not there any more keeps what it has."""
    fresh, now = Compiler(TRUST), publisher.in_force
    for workload, sidecar in sidecars.items():
        wanted = fresh.compile_snapshot(now.policy, now.topology, workload)
        assert sidecar.has is not None
        if wanted is not None:
            assert sidecar.has.resources == wanted.resources, workload
            assert (sidecar.has.version, sidecar.has.revision) == (wanted.version, wanted.revision)


@given(changes=st.lists(steps(), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture])
def test_what_is_brought_up_to_date_is_what_would_be_compiled_anew(tmp_path: Path, changes: list[Step]) -> None:
    store = open_store(f"sqlite:///{tmp_path}/picket.db")
    try:
        asyncio.run(walk(store, changes))
    finally:
        store.close()
