"""A control plane with 1,000 connected delta-ADS clients over mTLS, in another process: latency of changes, and memory.

An edge change goes the whole way: revision into SQLite, publish, compile, push.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

from controlplane.collection import FullCollections
from controlplane.identity.authority import Svid
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.documents import PolicyTexts
from controlplane.policy.revise import added, revise, rule_sets
from controlplane.policy.rules import Mode, Policy, Rule
from controlplane.store.sql import open_store
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from tests.bench.clients import allow_many_files
from tests.bench.fleet import Fleet, fleet, now
from tests.bench.measurement import Measurement, median, percentile
from tests.harness.mesh import Mesh, new_key, running_mesh

CLIENTS = 1_000
EDGE_CHANGES = 60


def run() -> list[Measurement]:
    """Measure."""
    allow_many_files()
    return asyncio.run(_measure())


def name_of(number: int) -> ServiceName:
    """One of the services."""
    return ServiceName(f"ns{number % 20}", f"service-{number}")


def _address(network: int, number: int) -> str:
    return f"10.{network}.{number // 250}.{number % 250 + 1}"


def topology(count: int) -> Topology:
    """So many services, each with one port."""
    return Topology.of(
        Service(name_of(n), Kind.SERVICE, (Port(8080, "http", 8080),), (_address(1, n),), (_address(2, n),)) for n in range(count)
    )


def _edge(source: int, destination: int) -> tuple[ServiceName, Rule]:
    return name_of(destination), Rule(WorkloadId(*name_of(source)), 8080)


_TEXTS = PolicyTexts()  # as the control plane keeps them from one revision to the next


async def _measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="picket-bench-") as directory:
        store = open_store(f"sqlite:///{directory}/picket.db")
        try:
            async with running_mesh(Path(directory), store, topology=topology(CLIENTS), default_mode=Mode.ENFORCE) as mesh:
                _publish(mesh, [_edge(n, (n + step) % CLIENTS) for n in range(CLIENTS) for step in (1, 2, 3)])
                searches = asyncio.create_task(FullCollections(lambda: mesh.cache.outdated > 0).run())  # as a control plane does
                try:
                    return await _with_clients(mesh)
                finally:
                    searches.cancel()
        finally:
            store.close()


def _publish(mesh: Mesh, edges: Sequence[tuple[ServiceName, Rule]]) -> None:
    """What an approval does: the next revision with its edges, in one transaction, then the push."""
    current = mesh.publisher.policy
    revised: Policy = revise(current, added(rule_sets(current), edges), current.revision + 1)
    with mesh.store.transaction() as transaction:
        stored = transaction.add_revision("bench", "", _TEXTS.dump(revised), 1)
        transaction.set_active_revision(stored.number)
    mesh.publisher.refresh(revised)


async def _with_clients(mesh: Mesh) -> list[Measurement]:
    told = [client_of(mesh, n) for n in range(CLIENTS)]
    gc.collect()
    before_kib = _rss_kib()
    async with fleet(mesh.target, mesh.authority.bundle_pem, told) as clients:
        await clients.quiet(1.0)
        gc.collect()
        per_client_kib = (_rss_kib() - before_kib) / CLIENTS
        edge_ms = await _edge_changes(mesh, clients)
        all_seconds = await _change_for_all(mesh, clients)
    return [
        Measurement(
            "edge change to its sidecars, 1,000 connected, p99", percentile(edge_ms, 0.99), "ms", 50,
            detail={"p50 ms": median(edge_ms)},
        ),
        Measurement("change that touches all 1,000 sidecars", all_seconds, "s", 1),
        Measurement("control-plane RSS a client, mTLS", per_client_kib, "KiB", 150),
    ]  # fmt: skip


def client_of(mesh: Mesh, number: int) -> dict[str, str]:
    """What a client process needs to be one sidecar."""
    workload = WorkloadId(*name_of(number))
    key, csr = new_key()
    svid = mesh.authority.sign(csr, workload, timedelta(hours=1), datetime.now(UTC))
    assert isinstance(svid, Svid)
    return {"node": f"sidecar~{workload}~{number}", "claim": "", "key_pem": key.decode(), "chain_pem": svid.chain_pem.decode()}


async def _edge_changes(mesh: Mesh, clients: Fleet) -> list[float]:
    """Milliseconds from the approval's begin until each end of the new edge has its news."""
    found: list[float] = []
    for round_number in range(EDGE_CHANGES):
        source, destination = round_number * 7 % CLIENTS, (round_number * 7 + 500) % CLIENTS
        since = now()
        await asyncio.to_thread(_publish, mesh, [_edge(source, destination)])
        await clients.until(
            lambda s=source, d=destination, t=since: bool(clients.first([d], "ECDS", t)) and bool(clients.first([s], "LDS", t))  # type: ignore[misc]  # bound now
        )
        await asyncio.sleep(0.3)  # the other 998 are told of the revision meanwhile; changes do not come in a row
        both = (*clients.first([destination], "ECDS", since), *clients.first([source], "LDS", since))
        found += [seconds * 1000 for seconds in both]
    return found


async def _change_for_all(mesh: Mesh, clients: Fleet) -> float:
    """Seconds until every client has a new listener: one shared upstream for everyone. The median of three."""
    found = []
    for round_number in range(3):
        hub = CLIENTS - 1 - round_number
        already = {rule.source for rule in mesh.publisher.policy.of(name_of(hub)).rules}
        others = [n for n in range(CLIENTS) if n != hub and WorkloadId(*name_of(n)) not in already]
        since = now()
        await asyncio.to_thread(_publish, mesh, [_edge(n, hub) for n in others])
        await clients.until(lambda t=since, o=frozenset(others): len(clients.first(o, "LDS", t)) == len(o))  # type: ignore[misc]  # bound now
        found.append(max(clients.first(frozenset(others), "LDS", since)))  # type: ignore[arg-type]  # membership is all that is asked
        await clients.quiet()
    return median(found)


def _rss_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS in /proc/self/status")
