"""A control plane with 1,000 connected delta-ADS clients over mTLS, in another process: latency of changes, memory, CPU a push.

An edge change goes the whole way: revision into SQLite, publish, compile, push. The raw limit of a push is the same bytes over a
bare gRPC stream of this server, answered alike.
"""

from __future__ import annotations

import asyncio
import gc
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from controlplane.identity.authority import Svid
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.documents import dump_policy
from controlplane.policy.revise import added, revise, rule_sets
from controlplane.policy.rules import Mode, Policy, Rule
from controlplane.store.sql import open_store
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.xds import types
from controlplane.xds.snapshot import Snapshot, resource_from_bytes
from tests.bench.clients import RAW_METHOD, allow_many_files
from tests.bench.fleet import Fleet, fleet, now
from tests.bench.measurement import Measurement, median, percentile
from tests.harness.mesh import Mesh, new_key, running_mesh

CLIENTS = 1_000
EDGE_CHANGES = 60
PUSH_ROUNDS = 12
PUSH_BYTES = 12 * 1024


def run() -> list[Measurement]:
    """Measure."""
    allow_many_files()
    return asyncio.run(_measure())


def _name(number: int) -> ServiceName:
    return ServiceName(f"ns{number % 20}", f"service-{number}")


def _address(network: int, number: int) -> str:
    return f"10.{network}.{number // 250}.{number % 250 + 1}"


def _topology() -> Topology:
    return Topology.of(
        Service(_name(n), Kind.SERVICE, (Port(8080, "http", 8080),), (_address(1, n),), (_address(2, n),)) for n in range(CLIENTS)
    )


def _edge(source: int, destination: int) -> tuple[ServiceName, Rule]:
    return _name(destination), Rule(WorkloadId(*_name(source)), 8080)


async def _measure() -> list[Measurement]:
    with tempfile.TemporaryDirectory(prefix="picket-bench-") as directory:
        store = open_store(f"sqlite:///{directory}/picket.db")
        try:
            async with running_mesh(Path(directory), store, topology=_topology(), default_mode=Mode.ENFORCE) as mesh:
                _publish(mesh, [_edge(n, (n + step) % CLIENTS) for n in range(CLIENTS) for step in (1, 2, 3)])
                return await _with_clients(mesh)
        finally:
            store.close()


def _publish(mesh: Mesh, edges: Sequence[tuple[ServiceName, Rule]]) -> None:
    """What an approval does: the next revision with its edges, in one transaction, then the push."""
    current = mesh.publisher.policy
    revised: Policy = revise(current, added(rule_sets(current), edges), current.revision + 1)
    with mesh.store.transaction() as transaction:
        stored = transaction.add_revision("bench", "", dump_policy(revised), 1)
        transaction.set_active_revision(stored.number)
    mesh.publisher.refresh(revised)


async def _with_clients(mesh: Mesh) -> list[Measurement]:
    told = [_client(mesh, n) for n in range(CLIENTS)]
    gc.collect()
    before_kib = _rss_kib()
    async with fleet(mesh.target, mesh.authority.bundle_pem, told) as clients:
        await clients.quiet(1.0)
        gc.collect()
        per_client_kib = (_rss_kib() - before_kib) / CLIENTS
        edge_ms = await _edge_changes(mesh, clients)
        all_seconds = await _change_for_all(mesh, clients)
        push_us = await _push_cpu(mesh, clients)
    raw_us = await _raw_push_cpu(mesh)
    return [
        Measurement(
            "edge change to its sidecars, 1,000 connected, p99", percentile(edge_ms, 0.99), "ms", 50,
            detail={"p50 ms": median(edge_ms)},
        ),
        Measurement("change that touches all 1,000 sidecars", all_seconds, "s", 1),
        Measurement("control-plane RSS a client, mTLS", per_client_kib, "KiB", 150),
        Measurement(
            "push + ACK of 12 KB, CPU a sidecar, mTLS", push_us, "us", 60, raw=raw_us, detail={"against raw": push_us / raw_us}
        ),
    ]  # fmt: skip


def _client(mesh: Mesh, number: int) -> dict[str, str]:
    workload = WorkloadId(*_name(number))
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
        already = {rule.source for rule in mesh.publisher.policy.of(_name(hub)).rules}
        others = [n for n in range(CLIENTS) if n != hub and WorkloadId(*_name(n)) not in already]
        since = now()
        await asyncio.to_thread(_publish, mesh, [_edge(n, hub) for n in others])
        await clients.until(lambda t=since, o=frozenset(others): len(clients.first(o, "LDS", t)) == len(o))  # type: ignore[misc]  # bound now
        found.append(max(clients.first(frozenset(others), "LDS", since)))  # type: ignore[arg-type]  # membership is all that is asked
        await clients.quiet()
    return median(found)


def _resource(number: int) -> Any:
    body = (f"{number:08d}".encode() * (PUSH_BYTES // 8))[:PUSH_BYTES]
    return resource_from_bytes(types.EXTENSION, "bench", body)


async def _push_cpu(mesh: Mesh, clients: Fleet) -> float:
    """Microseconds of this process's CPU for one push and its ACK."""
    workloads = [WorkloadId(*_name(n)) for n in range(CLIENTS)]
    found = []
    for round_number in range(PUSH_ROUNDS):
        resource = _resource(round_number)
        snapshots = {}
        for workload in workloads:
            current = mesh.cache.current(workload)
            resources = {**current.resources, types.EXTENSION: {**current.of_type(types.EXTENSION), "bench": resource}}
            snapshots[workload] = Snapshot(resources, current.revision)
        await clients.quiet()
        since, cpu = now(), time.process_time()
        mesh.cache.replace(snapshots)
        await clients.until(lambda t=since: len(clients.first(range(CLIENTS), "ECDS", t)) == CLIENTS)  # type: ignore[misc]  # bound now
        await asyncio.sleep(0.2)
        found.append((time.process_time() - cpu) / CLIENTS * 1e6)
    return median(found[2:])


async def _raw_push_cpu(mesh: Mesh) -> float:
    """The same over bare streams: what gRPC and TLS cost in this process."""
    queues: list[asyncio.Queue[bytes]] = []
    all_open = asyncio.Event()

    async def serve(_: object, context: Any) -> None:
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        await context.read()
        queues.append(queue)
        if len(queues) == CLIENTS:
            all_open.set()
        while True:
            await context.write(await queue.get())
            if await context.read() is grpc.aio.EOF:
                return

    service, method = RAW_METHOD.strip("/").split("/")
    server = grpc.aio.server()
    server.add_generic_rpc_handlers(
        (grpc.method_handlers_generic_handler(service, {method: grpc.stream_stream_rpc_method_handler(serve)}),)
    )
    key, chain = mesh.authority.issue_server(("picket-controlplane",), timedelta(hours=1), datetime.now(UTC))
    credentials = grpc.ssl_server_credentials([(key, chain)], mesh.authority.bundle_pem, require_client_auth=True)
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    found = []
    try:
        async with fleet(
            f"127.0.0.1:{port}", mesh.authority.bundle_pem, [_client(mesh, n) for n in range(CLIENTS)], raw=True
        ) as clients:
            await asyncio.wait_for(all_open.wait(), 60)
            for round_number in range(PUSH_ROUNDS):
                body = bytes(_resource(round_number).delta_bytes)
                await clients.quiet()
                since, cpu = now(), time.process_time()
                for queue in queues:
                    queue.put_nowait(body)
                await clients.until(lambda t=since: len(clients.first(range(CLIENTS), "ECDS", t)) == CLIENTS)  # type: ignore[misc]  # bound now
                await asyncio.sleep(0.2)
                found.append((time.process_time() - cpu) / CLIENTS * 1e6)
    finally:
        await server.stop(None)
    return median(found[2:])


def _rss_kib() -> int:
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS in /proc/self/status")
