"""Replicas of one service come and go in a mesh of 3,000: CPU from the new topology until all sidecars' streams have their news.

Publisher, compiler, snapshot cache and the streams' state machines are the control plane's; there is no network, and streams
are answered at once. Beside it: what compiling all of them anew costs, by a compiler that was just made.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from dataclasses import replace

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.documents import dump_policy
from controlplane.policy.revise import added, revise, rule_sets
from controlplane.policy.rules import Mode, Rule
from controlplane.server.snapshots import SnapshotCache
from controlplane.store.sql import open_store
from controlplane.topology.model import Kind, Port, Service, Topology
from controlplane.workflow.publish import Publisher
from controlplane.xds import types
from controlplane.xds.compile import Compiler
from controlplane.xds.delta import DeltaStream
from controlplane.xds.snapshot import Snapshot
from controlplane.xds.subscription import DeltaRequest, DeltaResponse, Event
from controlplane.xds.tls import Trust
from tests.bench.fanout import name_of
from tests.bench.measurement import Measurement, median

SERVICES = 3_000
CALLEES = 4
CHANGES = 12
_TRUST = Trust("picket.local", b"-")


def run() -> list[Measurement]:
    """Measure."""
    return [asyncio.run(_measure(mode)) for mode in (Mode.ENFORCE, Mode.LEARN)]


class _Sidecar:
    """A follower with a stream of its own, whose client takes everything at once."""

    def __init__(self, cache: SnapshotCache, number: int) -> None:
        self._cache, self._workload = cache, WorkloadId(*name_of(number))
        snapshot = cache.follow(self._workload, self)
        assert snapshot is not None
        self.stream = DeltaStream(snapshot)
        self.pushes, self.resources = 0, 0
        wanted = {type_url: tuple(snapshot.of_type(type_url)) for type_url in types.PUSH_ORDER}
        for type_url, names in wanted.items():
            self._take(self.stream.on_request(DeltaRequest(type_url, subscribe=() if type_url in types.WILDCARD else names)))
        assert self.stream.settled

    def changed(self) -> None:
        self._take(self.stream.on_snapshot(self._cache.current(self._workload)))

    def confirmed(self, snapshot: Snapshot) -> None: ...

    def _take(self, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, DeltaResponse):
                self.pushes += 1
                self.resources += len(event.resources)
                self._take(self.stream.on_request(DeltaRequest(event.type_url, nonce=event.nonce)))


def _address(network: int, number: int, replica: int = 0) -> str:
    return f"10.{network + 16 * replica}.{number // 250}.{number % 250 + 1}"


def _topology(changed: int, replica: int) -> Topology:
    """Read anew, as from a cluster: no object of it is one of another reading. One service has a new replica for an old one."""
    services = []
    for number in range(SERVICES):
        replicas = tuple(_address(2, number, n) for n in range(3))
        services.append(Service(name_of(number), Kind.SERVICE, (Port(8080, "http", 8080),), (_address(1, number),), replicas))
    services[changed] = replace(services[changed], endpoints=(*services[changed].endpoints[1:], _address(3, changed, replica)))
    return Topology.of(services)


async def _measure(mode: Mode) -> Measurement:
    with tempfile.TemporaryDirectory(prefix="picket-bench-") as directory:
        store = open_store(f"sqlite:///{directory}/picket.db")
        try:
            publisher = Publisher(store, _topology(0, 0), Compiler(_TRUST), mode)
            rules = [
                (name_of((n + step) % SERVICES), Rule(WorkloadId(*name_of(n)), 8080))
                for n in range(SERVICES)
                for step in range(1, CALLEES + 1)
            ]
            policy = revise(publisher.policy, added(rule_sets(publisher.policy), rules), 1)
            with store.transaction() as transaction:
                transaction.set_active_revision(transaction.add_revision("bench", "", dump_policy(policy), 1).number)
            publisher.refresh(policy)
            return await _changes(publisher, mode)
        finally:
            store.close()


async def _changes(publisher: Publisher, mode: Mode) -> Measurement:
    cache = SnapshotCache(publisher.snapshot, publisher.staged)
    publisher.connect(cache.outdate)
    sidecars = [_Sidecar(cache, number) for number in range(SERVICES)]
    pushed, sent = sum(sidecar.pushes for sidecar in sidecars), sum(sidecar.resources for sidecar in sidecars)
    running = asyncio.create_task(cache.run())
    took = []
    try:
        for number in range(CHANGES):
            after = _topology(number * 31 % SERVICES, number % 3)
            started = time.process_time()
            publisher.declare(after)
            while cache.outdated:  # noqa: ASYNC110  # it is the loop's own work that is waited for
                await asyncio.sleep(0)
            took.append((time.process_time() - started) * 1_000)
    finally:
        running.cancel()
        await asyncio.wait((running,))
    return Measurement(
        f"replicas of one of 3,000 services change, {mode}: CPU", median(took[2:]), "ms",
        detail={
            "all anew ms": _anew_ms(publisher),
            "pushes a change": (sum(sidecar.pushes for sidecar in sidecars) - pushed) / CHANGES,
            "resources a change": (sum(sidecar.resources for sidecar in sidecars) - sent) / CHANGES,
        },
    )  # fmt: skip


def _anew_ms(publisher: Publisher) -> float:
    """CPU of compiling everybody where nothing is known of before."""
    now, compiler = publisher.in_force, Compiler(_TRUST)
    topology = Topology(dict(now.topology.services))
    started = time.process_time()
    for number in range(SERVICES):
        compiler.compile_snapshot(now.policy, topology, WorkloadId(*name_of(number)))
    return (time.process_time() - started) * 1_000
