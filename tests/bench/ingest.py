"""Edge updates stored a second: reports of many sidecars over mTLS; read, checked, resolved and committed (an fsync each commit).

The sidecars are another process. An update is one edge of one batch: all its requests of a window. There are 20,000 edges, as many
as go into one transaction. The raw limit is the store alone, given the same flows in transactions of the same size.
"""

from __future__ import annotations

import asyncio
import base64
import sys
import tempfile
import time
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec

from controlplane.collection import FullCollections
from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.identity.authority import Svid
from controlplane.identity.spiffe import WorkloadId
from controlplane.store.interface import Store
from controlplane.store.sql import open_store
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.workflow.record import MAX_TRANSACTION_FLOWS
from protos.picket.v1.telemetry_pb2 import ALLOWED, INBOUND, Batch, Observation
from tests.bench.measurement import Measurement, median
from tests.harness.mesh import NOW_MS, TRUST_DOMAIN, Mesh, new_key, running_mesh

SIDECARS = 200
BATCHES = 5
EDGES = 100
ROUNDS = 3
UPDATES = SIDECARS * BATCHES * EDGES
_PORT = 8080


def run() -> list[Measurement]:
    """Measure."""
    whole, cpu_us, raw = [], [], []
    for _ in range(ROUNDS):
        seconds, cpu_seconds = asyncio.run(_served())
        whole.append(UPDATES / seconds)
        cpu_us.append(cpu_seconds / UPDATES * 1e6)
        raw.append(UPDATES / _stored())
    return [
        Measurement(
            "edge updates received and stored, SQLite", median(whole), "updates/s", 20_000, at_least=True, raw=median(raw),
            detail={"best": max(whole), "control-plane CPU µs/update": median(cpu_us)},
        )
    ]  # fmt: skip


def _workload(number: int) -> WorkloadId:
    return WorkloadId("bench", f"service-{number}")


def _topology() -> Topology:
    port = (Port(_PORT, "http", _PORT),)
    services = []
    for number in range(SIDECARS):
        address = (f"10.0.{number // 250}.{number % 250 + 1}",)
        services.append(Service(ServiceName(*_workload(number)), Kind.SERVICE, port, address, address))
    return Topology.of(services)


def _times(batch: int) -> tuple[int, int]:
    first_ms = NOW_MS - 1_000_000 + batch * 5_000
    return first_ms, first_ms + 4_000


def _batch(sidecar: int, batch: int) -> bytes:
    first_ms, last_ms = _times(batch)
    own = str(_workload(sidecar))
    seen = [
        Observation(
            direction=INBOUND, verdict=ALLOWED, peer_id=_workload(caller).uri(TRUST_DOMAIN), peer_address=f"10.0.0.{caller + 1}",
            service=own, port=_PORT, protocol="http", method="GET", path="/items/1", host="server", count=7,
            first_seen_ms=first_ms, last_seen_ms=last_ms,
        )
        for caller in range(EDGES)
    ]  # fmt: skip
    return Batch(epoch="0" * 32, sequence=batch + 1, instance="0", observations=seen).SerializeToString()


def _client(mesh: Mesh, number: int) -> dict[str, object]:
    key, csr = new_key()
    svid = mesh.authority.sign(csr, _workload(number), timedelta(hours=1), datetime.now(UTC))
    assert isinstance(svid, Svid)
    batches = [base64.b64encode(_batch(number, batch)).decode() for batch in range(BATCHES)]
    return {"key_pem": key.decode(), "chain_pem": svid.chain_pem.decode(), "batches": batches}


async def _served() -> tuple[float, float]:
    """Seconds from the first batch sent to the last acknowledged, and this process's CPU of them."""
    with tempfile.TemporaryDirectory(prefix="picket-bench-") as directory:
        store = open_store(f"sqlite:///{directory}/picket.db")
        try:
            async with running_mesh(Path(directory), store, topology=_topology()) as mesh:
                searches = asyncio.create_task(FullCollections(lambda: False).run())  # as a control plane does
                try:
                    found = await _report(mesh)
                finally:
                    searches.cancel()
                    await asyncio.wait((searches,))
            _check(store)
            return found
        finally:
            store.close()


async def _report(mesh: Mesh) -> tuple[float, float]:
    told = {
        "target": mesh.target, "root_pem": mesh.authority.bundle_pem.decode(),
        "clients": [_client(mesh, number) for number in range(SIDECARS)],
    }  # fmt: skip
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.bench.reporters", stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin is not None
    assert process.stdout is not None
    try:
        async with asyncio.timeout(60):
            process.stdin.write(msgspec.json.encode(told) + b"\n")
            assert await process.stdout.readline() == b"ready\n"
            started, cpu = time.perf_counter(), time.process_time()
            process.stdin.write(b"\n")
            assert await process.stdout.readline() == b"done\n"
            return time.perf_counter() - started, time.process_time() - cpu
    finally:
        process.stdin.close()
        if process.returncode is None:
            process.kill()
        await process.wait()


def _stored() -> float:
    """Seconds that the store takes for the same flows."""
    with tempfile.TemporaryDirectory(prefix="picket-bench-") as directory:
        store = open_store(f"sqlite:///{directory}/picket.db")
        try:
            work = [(sidecar, batch, _flows(sidecar, batch)) for batch in range(BATCHES) for sidecar in range(SIDECARS)]
            at_once = MAX_TRANSACTION_FLOWS // EDGES
            started = time.perf_counter()
            for first in range(0, len(work), at_once):
                with store.transaction() as transaction:
                    for sidecar, batch, flows in work[first : first + at_once]:
                        transaction.record_batch(str(_workload(sidecar)), "0", "0" * 32, batch + 1, flows, 0, NOW_MS)
            seconds = time.perf_counter() - started
            _check(store)
            return seconds
        finally:
            store.close()


def _flows(sidecar: int, batch: int) -> Sequence[Flow]:
    first_ms, last_ms = _times(batch)
    own = str(_workload(sidecar))
    edges = [EdgeKey(str(_workload(caller)), own, _PORT, "http", "GET") for caller in range(EDGES)]
    return [Flow(edge, Verdict.ALLOWED, own, "in", 7, first_ms, last_ms) for edge in edges]


def _check(store: Store) -> None:
    if sum(edge.count for edge in store.edges()) != UPDATES * 7:
        raise RuntimeError("not every update was stored")
