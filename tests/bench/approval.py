"""From an approval to every sidecar that it affects enforcing it: API, SQLite, compile, push, and whole sidecars with real Envoys.

One service is called by three others. Approved: from sending the request to the API until each caller's plain request, sent through
its own sidecar, reaches the application. The raw limit is when the last of the four Envoys acknowledged, as the control plane
heard it. Between rounds the approval is rolled back, until every caller is refused.
"""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from controlplane.api.client import Client
from controlplane.flows.model import EdgeKey
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Mode
from controlplane.server import listen
from controlplane.store.sql import SqlStore, open_store
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology, UpstreamListener
from controlplane.workflow.review import Review
from tests.bench.measurement import Measurement, median, percentile
from tests.harness.application import Application
from tests.harness.mesh import NOW_MS, TRUST_DOMAIN, Mesh, running_mesh, until
from tests.harness.plane import TOKEN, Plane

CALLERS = 3
ROUNDS = 100
MAX_SECONDS = 45.0
_PORT, _LISTEN_PORT = 28420, 28421
_SERVER = ServiceName("bench", "server")
_REQUEST = b"GET / HTTP/1.1\r\nhost: server\r\nconnection: close\r\n\r\n"
_API = "/api/v1"


@dataclass
class _Times:
    """Milliseconds of each round."""

    reached: list[float]
    acknowledged: list[float]
    refused: list[float]


def run() -> list[Measurement]:
    """Measure."""
    with tempfile.TemporaryDirectory(prefix="picket-bench-", dir="/tmp") as directory:
        store = open_store(f"sqlite:///{directory}/picket.db")
        try:
            times = asyncio.run(_measure(Path(directory), store))
        finally:
            store.close()
    return [
        Measurement(
            f"approval until all {CALLERS + 1} affected Envoys enforce it, p99", percentile(times.reached, 0.99), "ms", 100,
            raw=percentile(times.acknowledged, 0.99),
            detail={
                "p50 ms": median(times.reached), "ACK p50 ms": median(times.acknowledged),
                "rollback until all are refused, p99 ms": percentile(times.refused, 0.99), "rounds": len(times.reached),
            },
        )
    ]  # fmt: skip


def _caller(number: int) -> ServiceName:
    return ServiceName("bench", f"caller-{number}")


def _dialled(number: int) -> str:
    return f"127.92.1.{number + 1}"


def _topology() -> Topology:
    address = ("127.92.0.1",)
    services = [Service(_SERVER, Kind.SERVICE, (Port(_PORT, "http", _PORT),), address, address, "127.92.0.2", "explicit")]
    for number in range(CALLERS):
        dials = UpstreamListener(_SERVER, _PORT, _dialled(number), _LISTEN_PORT)
        services.append(Service(_caller(number), Kind.SERVICE, (), (), (f"127.92.2.{number + 1}",), None, "explicit", (dials,)))
    return Topology.of(services)


async def _measure(directory: Path, store: SqlStore) -> _Times:
    async with AsyncExitStack() as stack:
        mesh = await stack.enter_async_context(running_mesh(directory, store, topology=_topology(), default_mode=Mode.ENFORCE))
        application = Application()
        await application.start("127.92.0.2", _PORT)
        stack.push_async_callback(application.stop)
        for name in (_SERVER, *map(_caller, range(CALLERS))):
            await stack.enter_async_context(_sidecar(directory, mesh, WorkloadId(*name)))
        plane = Plane(store, mesh.publisher, Review(store, mesh.publisher, lambda: NOW_MS), directory, NOW_MS)
        plane.learn(*(EdgeKey(str(_caller(number)), str(_SERVER), _PORT, "http", "GET") for number in range(CALLERS)))
        client = Client(stack.enter_context(plane.listening(plane.socket)), TOKEN)
        await until(lambda: _all_run_it(mesh), 30)
        return await _rounds(mesh, client)


@asynccontextmanager
async def _sidecar(directory: Path, mesh: Mesh, workload: WorkloadId) -> AsyncIterator[None]:
    """A whole sidecar in a process of its own, beside an application that runs already."""
    join = directory / f"{workload.account}.json"
    join.touch(mode=0o600)
    document = {
        "control_plane": mesh.target, "enrollment": mesh.enrollment, "trust_domain": TRUST_DOMAIN, "workload": str(workload),
        "token": mesh.admission.new_token(workload, 0, "bench"), "bundle_pem": mesh.authority.bundle_pem.decode(),
        "server_name": listen.SERVER_NAME, "insecure": False,
    }  # fmt: skip
    await asyncio.to_thread(join.write_text, json.dumps(document))
    state = directory / workload.account
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "sidecar.main", "--join", str(join), "--state", str(state), "--capture", "explicit",
        "--instance", workload.account, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    try:
        await until(lambda: workload.account in mesh.heard.running or process.returncode is not None, 30)
        if process.returncode is not None:
            raise RuntimeError(f"the sidecar of {workload} ended with {process.returncode}")
        yield
    finally:
        if process.returncode is None:
            process.terminate()
        try:
            async with asyncio.timeout(10):
                await process.wait()
        except TimeoutError:
            process.kill()
            await process.wait()


def _all_run_it(mesh: Mesh) -> bool:
    """Whether every Envoy has acknowledged what is in force."""
    names = (_SERVER, *map(_caller, range(CALLERS)))
    return all(mesh.heard.running.get(name.name) == mesh.in_force(WorkloadId(*name)) for name in names)


async def _rounds(mesh: Mesh, client: Client) -> _Times:
    times = _Times([], [], [])
    ends = time.monotonic() + MAX_SECONDS
    while len(times.reached) < ROUNDS and time.monotonic() < ends:
        await asyncio.sleep(0.05)
        number = (await asyncio.to_thread(client.get, f"{_API}/proposals?status=open"))["proposals"][0]["number"]
        before, started = mesh.publisher.policy.revision, time.perf_counter()
        _, reached_ms, acknowledged_ms = await asyncio.gather(
            asyncio.to_thread(client.post, f"{_API}/proposals/{number}/approve", {"comment": "bench"}),
            _until_all(started, reached=True),
            _acknowledged(mesh, before, started),
        )
        times.reached.append(reached_ms)
        times.acknowledged.append(acknowledged_ms)
        started = time.perf_counter()
        _, refused_ms = await asyncio.gather(
            asyncio.to_thread(client.post, f"{_API}/policy/rollback", {"revision": 0, "comment": "bench"}),
            _until_all(started, reached=False),
        )
        times.refused.append(refused_ms)
        await until(lambda: _all_run_it(mesh))
    return times


async def _acknowledged(mesh: Mesh, before: int, started: float) -> float:
    """Milliseconds until every Envoy has acknowledged the revision that follows one."""
    await until(lambda: mesh.publisher.policy.revision > before and _all_run_it(mesh))
    return (time.perf_counter() - started) * 1000


async def _until_all(started: float, *, reached: bool) -> float:
    """Milliseconds until every caller's request gets through, or none does."""

    async def one(number: int) -> None:
        async with asyncio.timeout(20):
            while await _gets_through(_dialled(number)) is not reached:  # noqa: ASYNC110  # the network knows of no event
                await asyncio.sleep(0.003)

    await asyncio.gather(*(one(number) for number in range(CALLERS)))
    return (time.perf_counter() - started) * 1000


async def _gets_through(address: str) -> bool:
    """Whether a request on a new connection is answered by the application."""
    try:
        reader, writer = await asyncio.open_connection(address, _LISTEN_PORT)
    except OSError:
        return False
    try:
        writer.write(_REQUEST)
        return (await reader.readline()).startswith(b"HTTP/1.1 200")
    except OSError:
        return False
    finally:
        writer.close()
