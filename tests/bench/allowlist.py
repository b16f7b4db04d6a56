"""What an allow-list of N rules costs a real Envoy: requests a second and CPU a request, sidecar to sidecar over mTLS.

wrk -> client sidecar -> (mTLS) -> server sidecar with the allow-list -> an application that answers at once (a third Envoy).
The raw limit is the server sidecar with its allow-list filter taken out, in the same run, round by round.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

import msgspec
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import HttpConnectionManager
from google.protobuf.any_pb2 import Any

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology, UpstreamListener
from controlplane.xds import types
from controlplane.xds.compile import Compiler
from controlplane.xds.message import pack
from controlplane.xds.snapshot import ByName, Snapshot, resource_of
from controlplane.xds.tls import Trust
from tests.bench.measurement import Measurement, median
from tests.harness.envoy import TRUST_DOMAIN, EnvoyUnderTest, envoy_binary

SIZES = (10, 1000, 10_000)
ROUNDS = 9
SECONDS = 1
_SERVER, _CLIENT = ServiceName("bench", "server"), ServiceName("bench", "client")
_PORT, _APPLICATION_PORT, _LISTEN_PORT = 28410, 28410, 28411


def run() -> list[Measurement]:
    """Measure."""
    if shutil.which("wrk") is None:
        raise SystemExit("make bench: wrk is missing (apt-get install wrk)")
    return asyncio.run(_measure())


def topology() -> Topology:
    """The two services, on loopback."""
    port, address = Port(_PORT, "http", _PORT), ("127.91.0.1",)
    server = Service(_SERVER, Kind.SERVICE, (port,), address, address, "127.91.0.2", "explicit")
    listener = UpstreamListener(_SERVER, _PORT, "127.91.0.3", _LISTEN_PORT)
    client = Service(_CLIENT, Kind.SERVICE, (), (), ("127.91.0.4",), None, "explicit", (listener,))
    return Topology.of([server, client])


def policy(rules: int, *, paths: bool = False) -> Policy:
    """The client among ``rules`` peers, all enforced."""
    http = (HttpMatch("GET", "/"), HttpMatch("POST", "/cart"), HttpMatch("GET", "/product/{id}")) if paths else ()
    peers = [WorkloadId("bench", f"peer-{number}") for number in range(rules - 1)]
    listed = tuple(Rule(peer, _PORT, http) for peer in [*peers, WorkloadId(*_CLIENT)])
    services = {_SERVER: ServicePolicy(_SERVER, listed, 1, 1)}
    return Policy(1, services, {_SERVER: Mode.ENFORCE, _CLIENT: Mode.ENFORCE}, Mode.ENFORCE)


class _Bare(EnvoyUnderTest):
    """The same sidecar; ``bare`` takes the allow-list filter out of its listener."""

    bare = False

    def _compile(self, workload: WorkloadId) -> Snapshot | None:
        snapshot = super()._compile(workload)
        return _without_filter(snapshot) if self.bare and snapshot is not None else snapshot


def _without_filter(snapshot: Snapshot) -> Snapshot:
    resources = {type_url: ByName(by_name) for type_url, by_name in snapshot.resources.items()}
    for name, resource in resources[types.LISTENER].items():
        listener = Listener()
        listener.ParseFromString(_body(resource.any_bytes))
        for chain in listener.filter_chains:
            for item in chain.filters:
                manager = HttpConnectionManager()
                if item.typed_config.Unpack(manager):
                    kept = [f for f in manager.http_filters if not f.HasField("config_discovery")]
                    del manager.http_filters[:]
                    manager.http_filters.extend(kept)
                    item.typed_config.CopyFrom(pack(manager))
        needs = [need for need in resource.needs if need[0] != types.EXTENSION]
        resources[types.LISTENER][name] = resource_of(types.LISTENER, name, listener, needs)
    resources[types.EXTENSION] = ByName()
    return Snapshot(resources, snapshot.revision)


def _body(any_bytes: bytes) -> bytes:
    wrapped = Any()
    wrapped.ParseFromString(any_bytes)
    return bytes(wrapped.value)


@asynccontextmanager
async def sidecar(
    kind: type[EnvoyUnderTest], workload: WorkloadId, start: Policy, like: EnvoyUnderTest | None
) -> AsyncIterator[EnvoyUnderTest]:
    """A sidecar of the bench topology; ``like`` is one whose certificate authority it shares."""
    directory = Path(tempfile.mkdtemp(prefix="picket-bench-", dir="/tmp"))
    running = kind(directory, topology(), workload, start)
    if like is not None:
        running.authority = like.authority
        running.compiler = Compiler(Trust(TRUST_DOMAIN, like.authority.bundle_pem))
    try:
        await running.start()
        yield running
    finally:
        await running.stop()
        shutil.rmtree(directory, ignore_errors=True)


@asynccontextmanager
async def application() -> AsyncIterator[None]:
    """An Envoy that answers 200 at once: cheaper than any server in Python, so that the sidecar is what is measured."""
    manager = {
        "@type": "type.googleapis.com/envoy.extensions.filters.network.http_connection_manager.v3.HttpConnectionManager",
        "stat_prefix": "app",
        "route_config": {
            "virtual_hosts": [
                {"name": "all", "domains": ["*"], "routes": [{"match": {"prefix": "/"}, "direct_response": {"status": 200}}]}
            ]
        },
        "http_filters": [
            {
                "name": "router",
                "typed_config": {"@type": "type.googleapis.com/envoy.extensions.filters.http.router.v3.Router"},
            }
        ],
    }
    listener = {
        "address": {"socket_address": {"address": "127.91.0.2", "port_value": _APPLICATION_PORT}},
        "filter_chains": [{"filters": [{"name": "http", "typed_config": manager}]}],
    }
    with tempfile.NamedTemporaryFile(suffix=".json") as file:
        file.write(msgspec.json.encode({"static_resources": {"listeners": [listener]}}))
        file.flush()
        process = await asyncio.create_subprocess_exec(
            envoy_binary(), "-c", file.name, "--disable-hot-restart", "--concurrency", "1", "-l", "error",
        )  # fmt: skip
        await asyncio.sleep(1.5)
        try:
            yield
        finally:
            process.terminate()
            await process.wait()


async def _measure() -> list[Measurement]:
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(application())
        server = await stack.enter_async_context(sidecar(_Bare, WorkloadId(*_SERVER), policy(10), None))
        assert isinstance(server, _Bare)
        await stack.enter_async_context(sidecar(EnvoyUnderTest, WorkloadId(*_CLIENT), policy(10), server))
        rates: dict[str, list[float]] = {}
        cpu: dict[str, list[float]] = {}
        variants: list[tuple[str, int, bool]] = [("none", 10, False)]
        variants += [(str(size), size, False) for size in SIZES] + [("10000+paths", 10_000, True)]
        for round_number in range(ROUNDS + 1):
            for label, size, paths in variants:
                server.bare = label == "none"
                await server.publish(policy(size, paths=paths))
                rate, microseconds = await _load(server)
                if round_number:  # the first round warms up
                    rates.setdefault(label, []).append(rate)
                    cpu.setdefault(label, []).append(microseconds)
    found = []
    for label, _, _ in variants[1:]:
        ratios = [mine / bare for mine, bare in zip(rates[label], rates["none"], strict=True)]
        goal = 0.95 if label == "10000" else None
        found.append(
            Measurement(
                f"allow-list of {label} rules: requests/s against no allow-list", median(ratios), "x", goal, at_least=True, raw=1.0,
                detail={
                    "requests/s": median(rates[label]), "without": median(rates["none"]),
                    "sidecar CPU µs/request": median(cpu[label]), "without it": median(cpu["none"]),
                },
            )
        )  # fmt: skip
    return found


async def _load(server: EnvoyUnderTest) -> tuple[float, float]:
    """Requests a second, and microseconds of the server sidecar's CPU for each."""
    assert server.process is not None
    # A listener that was replaced drains: the client sidecar's connections begin anew before anything is measured.
    await asyncio.to_thread(_wrk, 1)
    before = _cpu_seconds(server.process.pid)
    done = await asyncio.to_thread(_wrk, SECONDS)
    spent = _cpu_seconds(server.process.pid) - before
    if "Non-2xx" in done.stdout:
        raise RuntimeError(f"not every request was let through:\n{done.stdout}")
    requests = int(re.search(r"(\d+) requests in", done.stdout)[1])  # type: ignore[index]  # wrk always prints it
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", done.stdout)[1])  # type: ignore[index]  # wrk always prints it
    return rate, spent / requests * 1e6


def _wrk(seconds: int) -> subprocess.CompletedProcess[str]:
    target = f"http://127.91.0.3:{_LISTEN_PORT}/"
    return subprocess.run(["wrk", "-t1", "-c16", f"-d{seconds}s", target], capture_output=True, text=True, check=True)


def _cpu_seconds(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
