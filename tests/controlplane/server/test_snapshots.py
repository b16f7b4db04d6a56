"""The snapshot cache: who is brought up to date, in which order, and that nobody keeps an older snapshot than was in force."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rollouts import Plan, Rollout
from controlplane.policy.rules import Mode
from controlplane.server.snapshots import SnapshotCache
from controlplane.topology.model import ServiceName
from controlplane.workflow.publish import Change, CompileError, Staged
from controlplane.xds import types
from controlplane.xds.snapshot import Snapshot, resource_from_bytes
from tests.harness.mesh import until

NAMES = [WorkloadId("shop", f"s{number}") for number in range(300)]


def snapshot(text: str, revision: int) -> Snapshot:
    """A snapshot with two resources, of which one says something."""
    kept = resource_from_bytes(types.LISTENER, "kept", b"kept")
    return Snapshot.of([resource_from_bytes(types.CLUSTER, "c", text.encode()), kept], revision)


class Following:
    """A follower that writes down what it is told."""

    def __init__(self, cache: SnapshotCache, workload: WorkloadId, told: list[tuple[str, str]]) -> None:
        self._cache, self._told, self.workload = cache, told, workload
        self.first = cache.follow(workload, self)

    def changed(self) -> None:
        self._told.append((self.workload.account, f"changed to {self._cache.current(self.workload).revision}"))

    def confirmed(self, snapshot: Snapshot) -> None:
        self._told.append((self.workload.account, f"confirmed as {snapshot.revision}"))


@asynccontextmanager
async def running(compile_one: Callable[[WorkloadId], Snapshot | None]) -> AsyncIterator[SnapshotCache]:
    """A cache that works."""
    cache = SnapshotCache(compile_one)
    task = asyncio.create_task(cache.run())
    try:
        yield cache
    finally:
        task.cancel()
        await asyncio.wait((task,))
        assert task.cancelled(), task.exception()


async def test_the_concerned_come_first_and_the_rest_learn_the_revision() -> None:
    """What nobody else needs is not compiled again."""
    compiled: list[WorkloadId] = []
    revision = 1

    def compile_one(workload: WorkloadId) -> Snapshot:
        compiled.append(workload)
        return snapshot(f"{workload} {revision if workload == NAMES[7] else 1}", revision)

    async with running(compile_one) as cache:
        told: list[tuple[str, str]] = []
        for name in NAMES[:10]:
            Following(cache, name, told)
        compiled.clear()
        revision = 2
        cache.outdate(Change(2, frozenset({NAMES[7], WorkloadId("shop", "stranger")}), everyone=False))
        assert cache.outdated == 10
        await until(lambda: not cache.outdated)
    assert compiled == [NAMES[7]]
    assert told[0] == ("s7", "changed to 2")
    assert sorted(told[1:]) == sorted((name.account, "confirmed as 2") for name in NAMES[:10] if name != NAMES[7])


async def test_a_change_of_everything_is_compiled_once_for_each_and_in_slices() -> None:
    """Two changes in a row cost one compilation; streams have their turn in between, and the second's concerned are first."""
    compiled: list[WorkloadId] = []
    turns = 0
    revision = 1

    def compile_one(workload: WorkloadId) -> Snapshot:
        compiled.append(workload)
        return snapshot(f"{workload} {revision}", revision)

    async with running(compile_one) as cache:
        told: list[tuple[str, str]] = []
        for name in NAMES:
            Following(cache, name, told)
        compiled.clear()
        revision = 3
        cache.outdate(Change(2, frozenset(), everyone=True))
        cache.outdate(Change(3, frozenset({NAMES[250]}), everyone=False))
        while cache.outdated:
            turns += 1
            await asyncio.sleep(0)
    assert compiled[0] == NAMES[250]
    assert sorted(compiled) == sorted(NAMES)
    assert {said for _, said in told} == {"changed to 3"}
    assert turns > 1


async def test_a_compilation_to_the_same_content_confirms() -> None:
    """A change of everything that changes nothing for somebody sends that one nothing."""
    async with running(lambda workload: snapshot("same", 1)) as cache:
        told: list[tuple[str, str]] = []
        following = Following(cache, NAMES[0], told)
        cache.outdate(Change(2, frozenset(NAMES), everyone=True))
        await until(lambda: not cache.outdated)
        assert following.first is not None
        assert cache.current(NAMES[0]).resources is following.first.resources
    assert told == [("s0", "confirmed as 1")]


async def test_what_did_not_change_stays_the_same_object() -> None:
    """So that streams need not look at it."""
    texts = iter(("one", "two"))
    async with running(lambda workload: snapshot(next(texts), 1)) as cache:
        following = Following(cache, NAMES[0], [])
        cache.outdate(Change(2, frozenset({NAMES[0]}), everyone=False))
        await until(lambda: not cache.outdated)
        assert following.first is not None
        after = cache.current(NAMES[0])
    assert after.of_type(types.LISTENER) is following.first.of_type(types.LISTENER)
    assert after.of_type(types.CLUSTER) is not following.first.of_type(types.CLUSTER)
    assert after.version == snapshot("two", 9).version


async def test_one_that_does_not_compile_keeps_what_it_has() -> None:
    """And the others have theirs. So does one whose workload is gone: an empty configuration is not what anybody wants."""
    broken: dict[WorkloadId, Snapshot | None] = {}

    def compile_one(workload: WorkloadId) -> Snapshot | None:
        if workload in broken:
            raise CompileError("no")
        if workload in gone:
            return None
        return snapshot(f"{revision}", revision)

    gone: set[WorkloadId] = set()
    revision = 1
    async with running(compile_one) as cache:
        told: list[tuple[str, str]] = []
        for name in NAMES[:3]:
            Following(cache, name, told)
        broken[NAMES[0]] = None
        gone.add(NAMES[1])
        revision = 2
        cache.outdate(Change(2, frozenset(NAMES), everyone=False))
        await until(lambda: not cache.outdated)
        assert [cache.current(name).revision for name in NAMES[:3]] == [1, 1, 2]
    assert told == [("s2", "changed to 2")]


async def test_who_comes_while_others_are_brought_up_to_date_has_the_newest() -> None:
    """Whoever connects after a change is in force never gets what was before it, and who left is not compiled for."""
    revision = 1
    async with running(lambda workload: snapshot(f"{workload} {revision}", revision)) as cache:
        told: list[tuple[str, str]] = []
        first = Following(cache, NAMES[0], told)
        leaving = Following(cache, NAMES[1], told)
        revision = 2
        late = Following(cache, NAMES[2], told)
        cache.outdate(Change(2, frozenset(NAMES), everyone=False))
        cache.leave(NAMES[1], leaving)
        cache.leave(NAMES[1], leaving)
        await until(lambda: not cache.outdated)
        assert late.first is not None
        assert late.first.revision == 2
        cache.leave(NAMES[0], first)
    assert sorted(told) == [("s0", "changed to 2"), ("s2", "confirmed as 2")]


async def test_an_unknown_workload_is_not_followed() -> None:
    """There is nothing to follow, and nothing is remembered."""
    async with running(lambda workload: None) as cache:
        following = Following(cache, NAMES[0], [])
        assert following.first is None
        cache.outdate(Change(2, frozenset(NAMES), everyone=True))
        assert cache.outdated == 0
        cache.leave(NAMES[0], following)


async def test_sidecars_of_a_stage_run_another_snapshot_until_it_ends() -> None:
    """Both kinds of sidecars hear of each change; a newcomer gets what its stage has."""
    rollout = Rollout(1, ServiceName("shop", "s0"), Mode.AUDIT, Plan(20, 60, 0), "first", "ana", 1, 1)
    staged: Staged | None = None
    cache = SnapshotCache(lambda _: snapshot("base", 1), lambda _: staged)
    task = asyncio.create_task(cache.run())
    told: list[tuple[str, str]] = []
    Following(cache, NAMES[0], told)
    try:
        staged = Staged(snapshot("trial", 1), rollout)
        cache.outdate(Change(1, frozenset({NAMES[0]}), everyone=False))
        await until(lambda: not cache.outdated)
        assert cache.current(NAMES[0], "first") is staged.snapshot
        assert cache.follow(NAMES[0], Following(cache, NAMES[0], []), "other") is cache.current(NAMES[0])
        assert told[-1] == ("s0", "changed to 1")
        staged = None
        cache.outdate(Change(2, frozenset(), everyone=False))
        await until(lambda: not cache.outdated)
        assert cache.current(NAMES[0], "first") is cache.current(NAMES[0], "other")
    finally:
        task.cancel()
        await asyncio.wait((task,))
