"""What one push and its ACK cost the control plane: CPU of its process a sidecar, 12 KB each, over mTLS and in plaintext.

The raw limit is the same bytes over a bare gRPC stream of a server in this process, answered alike, round by round.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Mode
from controlplane.store.sql import open_store
from controlplane.xds import types
from controlplane.xds.snapshot import ByName, Resource, Snapshot, resource_from_bytes
from tests.bench.clients import RAW_METHOD, allow_many_files
from tests.bench.fanout import client_of, name_of, topology
from tests.bench.fleet import Fleet, fleet, now
from tests.bench.measurement import Measurement, median
from tests.harness.mesh import TRUST_DOMAIN, Mesh, running_mesh

CLIENTS = 300
ROUNDS = 16
BYTES = 12 * 1024


def run() -> list[Measurement]:
    """Measure."""
    allow_many_files()
    return [asyncio.run(_measure(secure=secure)) for secure in (False, True)]


async def _measure(*, secure: bool) -> Measurement:
    async with AsyncExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory(prefix="picket-bench-"))
        store = open_store(f"sqlite:///{directory}/picket.db")
        stack.callback(store.close)
        wanted = topology(CLIENTS)
        mesh = await stack.enter_async_context(
            running_mesh(Path(directory), store, insecure=not secure, topology=wanted, default_mode=Mode.ENFORCE)
        )
        told = [client_of(mesh, n) if secure else _claim(n) for n in range(CLIENTS)]
        raw = await stack.enter_async_context(_raw_server(mesh, secure=secure))
        sidecars = await stack.enter_async_context(fleet(mesh.target, mesh.authority.bundle_pem, told))
        bare = await stack.enter_async_context(fleet(raw.target, mesh.authority.bundle_pem, told, raw=True))
        await asyncio.wait_for(raw.all_open.wait(), 60)
        pushed, raw_pushed = [], []
        for number in range(ROUNDS):
            resource = resource_from_bytes(types.EXTENSION, "bench", (f"{number:08d}".encode() * (BYTES // 8))[:BYTES])
            pushed.append(await _cpu_us(sidecars, _replacing(mesh, resource)))
            raw_pushed.append(await _cpu_us(bare, lambda body=resource.delta_bytes: raw.push(body)))  # type: ignore[misc]  # bound now
    push_us, raw_us = median(pushed[2:]), median(raw_pushed[2:])
    return Measurement(
        f"push + ACK of 12 KB, CPU a sidecar, {'mTLS' if secure else 'plaintext'}", push_us, "us", 60, raw=raw_us,
        detail={"against raw": push_us / raw_us, "least us": min(pushed), "least raw us": min(raw_pushed)},
    )  # fmt: skip


def _claim(number: int) -> dict[str, str]:
    workload = WorkloadId(*name_of(number))
    return {"node": f"sidecar~{workload}~{number}", "claim": workload.uri(TRUST_DOMAIN), "key_pem": "", "chain_pem": ""}


async def _cpu_us(clients: Fleet, push: Callable[[], None]) -> float:
    """Microseconds of this process's CPU a client, until all have the push and their answers are read.

    The end is when this process is idle again: asking the clients meanwhile would cost as much as a push.
    """
    await clients.quiet(0.1)
    since, started = now(), time.process_time()
    push()
    before, spent = -1.0, 0.0
    while spent - before > 0.001:
        await asyncio.sleep(0.1)
        before, spent = spent, time.process_time() - started
    await clients.until(lambda: len(clients.first(range(CLIENTS), "ECDS", since)) == CLIENTS)
    return spent / CLIENTS * 1e6


def _replacing(mesh: Mesh, resource: Resource) -> Callable[[], None]:
    """Puts a resource into every sidecar's snapshot; the snapshots are made before anything is measured."""
    snapshots = {}
    for number in range(CLIENTS):
        current = mesh.cache.current(WorkloadId(*name_of(number)))
        extensions = ByName({**current.of_type(types.EXTENSION), resource.name: resource})
        snapshots[WorkloadId(*name_of(number))] = Snapshot({**current.resources, types.EXTENSION: extensions}, current.revision)
    return lambda: mesh.cache.replace(snapshots)


class _Raw:
    """Bare streams: each takes what is put into its queue, sends it and reads an answer."""

    def __init__(self) -> None:
        self._queues: list[asyncio.Queue[bytes]] = []
        self.all_open = asyncio.Event()
        self.target = ""

    async def serve(self, _: object, context: Any) -> None:
        """One stream."""
        queue: asyncio.Queue[bytes] = asyncio.Queue()
        await context.read()
        self._queues.append(queue)
        if len(self._queues) == CLIENTS:
            self.all_open.set()
        while True:
            await context.write(await queue.get())
            if await context.read() is grpc.aio.EOF:
                return

    def push(self, body: bytes) -> None:
        """The same bytes to everyone."""
        for queue in self._queues:
            queue.put_nowait(body)


@asynccontextmanager
async def _raw_server(mesh: Mesh, *, secure: bool) -> AsyncIterator[_Raw]:
    raw = _Raw()
    service, method = RAW_METHOD.strip("/").split("/")
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(raw.serve)
    server = grpc.aio.server()
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler(service, {method: handler}),))
    if secure:
        key, chain = mesh.authority.issue_server(("picket-controlplane",), timedelta(hours=1), datetime.now(UTC))
        credentials = grpc.ssl_server_credentials([(key, chain)], mesh.authority.bundle_pem, require_client_auth=True)
        port = server.add_secure_port("127.0.0.1:0", credentials)
    else:
        port = server.add_insecure_port("127.0.0.1:0")
    raw.target = f"127.0.0.1:{port}"
    await server.start()
    try:
        yield raw
    finally:
        await server.stop(None)
