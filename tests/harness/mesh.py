"""The gRPC side of a control plane in this process, with real certificates and a real store, for tests of what peers are told."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.flows.model import Flow, Violation
from controlplane.identity.authority import CertificateAuthority, Svid, load_or_create
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Mode
from controlplane.server import listen
from controlplane.server.ads import AggregatedDiscovery, StreamId
from controlplane.server.authentication import Authenticator
from controlplane.server.certificates import Attestor, Certificates
from controlplane.server.snapshots import SnapshotCache
from controlplane.server.streams import OpenStreams
from controlplane.server.telemetry import Telemetry
from controlplane.settings import parse_listen
from controlplane.store.interface import Store
from controlplane.store.stored import BatchReceipt
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.workflow.admission import Admission
from controlplane.workflow.publish import Change, Publisher
from controlplane.workflow.record import Recorder, Report
from controlplane.workflow.resolve import Observed, Surroundings, flows_of
from controlplane.xds.compile import Compiler
from controlplane.xds.snapshot import Snapshot
from controlplane.xds.subscription import Acked, Nacked
from controlplane.xds.tls import Trust
from protos.picket.v1.sidecar_pb2 import SidecarInfo

TRUST_DOMAIN = "picket.test"
NOW_MS = 1_900_000_000_000
WEB, CART, DB = WorkloadId("shop", "web"), WorkloadId("shop", "cart"), WorkloadId("shop", "db")


def service(name: str, port: int, protocol: str, address: str) -> Service:
    """A meshed service with one port."""
    return Service(ServiceName("shop", name), Kind.SERVICE, (Port(port, protocol, port),), (address,), (address,))


TOPOLOGY = Topology.of(
    (service("web", 80, "http", "10.0.0.1"), service("cart", 7070, "grpc", "10.0.0.2"), service("db", 3306, "mysql", "10.0.0.3"))
)


def new_key() -> tuple[bytes, bytes]:
    """A private key (PEM) and a signing request for it (DER)."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return pem, csr.public_bytes(serialization.Encoding.DER)


def credentials(
    authority: CertificateAuthority,
    workload: WorkloadId,
    *,
    lifetime: timedelta = timedelta(hours=1),
    trusting: CertificateAuthority | None = None,
) -> grpc.ChannelCredentials:
    """A client with this authority's certificate for a workload; it trusts the same authority, or another."""
    key, csr = new_key()
    svid = authority.sign(csr, workload, lifetime, datetime.now(UTC))
    assert isinstance(svid, Svid)
    return grpc.ssl_channel_credentials((trusting or authority).bundle_pem, key, svid.chain_pem)


async def until(met: Callable[[], bool], timeout_seconds: float = 20.0) -> None:
    """Return when something that other tasks do is as wanted."""
    async with asyncio.timeout(timeout_seconds):
        while not met():  # noqa: ASYNC110  # what is waited for knows of no event
            await asyncio.sleep(0.005)


@dataclass
class Heard:
    """What the parts told their observers."""

    events: list[tuple[str, ...]] = field(default_factory=list)
    running: dict[str, tuple[str, int]] = field(default_factory=dict)
    pushes: list[tuple[str, int]] = field(default_factory=list)
    refusals: list[tuple[str, str, str]] = field(default_factory=list)
    stored: list[tuple[Report, BatchReceipt]] = field(default_factory=list)
    violations: list[Violation] = field(default_factory=list)
    announced: list[tuple[WorkloadId, SidecarInfo]] = field(default_factory=list)
    addresses: list[str] = field(default_factory=list)
    failed_reports: int = 0

    def connected(self, stream: StreamId, snapshot: Snapshot) -> None:
        self.events.append(("connected", stream.instance))

    def sent(self, stream: StreamId, type_url: str, size_bytes: int, snapshot: Snapshot) -> None:
        self.pushes.append((stream.instance, size_bytes))

    def answered(self, stream: StreamId, event: Acked | Nacked, snapshot: Snapshot, *, settled: bool) -> None:
        if isinstance(event, Nacked):
            self.events.append(("nacked", stream.instance, event.message))
        elif settled:
            self.events.append(("settled", stream.instance, str(snapshot.revision)))
            self.running[stream.instance] = (snapshot.version, snapshot.revision)

    def unchanged(self, stream: StreamId, snapshot: Snapshot) -> None:
        self.events.append(("unchanged", stream.instance, str(snapshot.revision)))
        self.running[stream.instance] = (snapshot.version, snapshot.revision)

    def disconnected(self, stream: StreamId) -> None:
        self.events.append(("disconnected", stream.instance))

    def refused(self, peer: str, claimed: str, reason: str) -> None:
        self.refusals.append((peer, claimed, reason))

    def violated(self, violations: Sequence[Violation]) -> None:
        self.violations += violations

    def committed(self, seconds: float) -> None: ...

    def failed(self, reports: int) -> None:
        self.failed_reports += reports


class _Reports:
    """A `workflow.record.Observer` that keeps what it hears; `Heard.stored` is taken by the list of that name."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self.violated, self.committed, self.failed = heard.violated, heard.committed, heard.failed

    def stored(self, report: Report, receipt: BatchReceipt) -> None:
        self._heard.stored.append((report, receipt))


class Mesh:
    """Both listeners with everything behind them."""

    def __init__(
        self,
        directory: Path,
        store: Store,
        *,
        insecure: bool,
        topology: Topology,
        default_mode: Mode,
        stream_limit: int,
        attestor: Attestor | None = None,
    ) -> None:
        self.directory = directory
        self.store = store
        self.authority = load_or_create(directory / "ca", TRUST_DOMAIN)
        self.heard = Heard()
        self.publisher = Publisher(store, topology, Compiler(Trust(TRUST_DOMAIN, self.authority.bundle_pem)), default_mode)
        self.cache = SnapshotCache(self.publisher.snapshot, self.publisher.staged)
        self.recorder = Recorder(store, lambda: NOW_MS, _Reports(self.heard))
        self.admission = Admission(store, self.is_known, lambda: NOW_MS)
        self.gone: set[WorkloadId] = set()
        self._streams = (OpenStreams(stream_limit), OpenStreams(stream_limit))
        authenticator = Authenticator(TRUST_DOMAIN, insecure)
        certificates = Certificates(
            self.authority, authenticator, self.admission, timedelta(minutes=5), self.is_known, lambda _: None, self.heard.refused,
            attestor,
        )  # fmt: skip
        telemetry = Telemetry(authenticator, self.recorder, self._resolve, self._announce, self.heard.refused, self._streams[1])
        discovery = AggregatedDiscovery(self.cache, authenticator, self.heard, self._streams[0])
        self._server, self._enrollment = listen.mesh_server(), listen.enrollment_server()
        self._server.add_generic_rpc_handlers((discovery.handlers(), *telemetry.handlers(), certificates.mesh_handlers()))
        self._enrollment.add_generic_rpc_handlers((certificates.enrollment_handlers(),))

        def secured(*, clients: bool) -> grpc.ServerCredentials | None:
            return None if insecure else listen.server_credentials(self.authority, (), client_certificates=clients)

        loopback = parse_listen("127.0.0.1:0", "test")
        self.target = listen.bind(self._server, loopback, secured(clients=True))
        self.socket = listen.bind(self._server, parse_listen(f"unix:{directory}/mesh.sock", "test"), secured(clients=True))
        self.enrollment = listen.bind(self._enrollment, loopback, secured(clients=False))
        self._background: list[asyncio.Task[None]] = []

    def in_force(self, workload: WorkloadId) -> tuple[str, int]:
        """Version and revision of what a workload's sidecars are to run, as `Heard.running` has them."""
        snapshot = self.publisher.snapshot(workload)
        assert snapshot is not None
        return snapshot.version, snapshot.revision

    def is_known(self, workload: WorkloadId) -> bool:
        """Whether the topology has it; tests put it into ``gone`` to take it away."""
        return workload in self.publisher.topology.by_workload and workload not in self.gone

    def _resolve(self, observed: Sequence[Observed], reporter: WorkloadId, _instance: str) -> list[Flow]:
        given = Surroundings(self.publisher.topology, self.publisher.policy, TRUST_DOMAIN, NOW_MS)
        return [flow for seen in observed for flow in flows_of(seen, reporter, given)]

    async def _announce(self, workload: WorkloadId, info: SidecarInfo, address: str) -> None:
        self.heard.announced.append((workload, info))
        self.heard.addresses.append(address)

    async def start(self) -> None:
        """Serve."""
        loop = asyncio.get_running_loop()

        def changed(change: Change) -> None:
            loop.call_soon_threadsafe(self.cache.outdate, change)

        self.publisher.connect(changed)
        await self._server.start()
        await self._enrollment.start()
        self._background = [asyncio.create_task(self.recorder.run()), asyncio.create_task(self.cache.run())]

    def end_streams(self) -> None:
        """End every stream, as a control plane that stops."""
        for streams in self._streams:
            streams.stop()

    async def stop(self) -> None:
        """Stop as a control plane does."""
        self.end_streams()
        await asyncio.gather(self._server.stop(2), self._enrollment.stop(2))
        self.recorder.close()
        if self._background:
            self._background[1].cancel()
            await asyncio.wait(self._background)

    async def kill(self) -> None:
        """End without finishing anything: nothing that waits is stored any more."""
        self._background[0].cancel()
        await asyncio.wait((self._background[0],))
        await self._server.stop(None)

    def credentials(self, workload: WorkloadId, lifetime: timedelta = timedelta(hours=1)) -> grpc.ChannelCredentials:
        """A client with a certificate of this mesh."""
        return credentials(self.authority, workload, lifetime=lifetime)


@asynccontextmanager
async def running_mesh(
    directory: Path,
    store: Store,
    *,
    insecure: bool = False,
    topology: Topology = TOPOLOGY,
    default_mode: Mode = Mode.LEARN,
    stream_limit: int = 2_000,
    attestor: Attestor | None = None,
) -> AsyncIterator[Mesh]:
    """A mesh that is stopped afterwards."""
    mesh = Mesh(
        directory, store, insecure=insecure, topology=topology, default_mode=default_mode, stream_limit=stream_limit,
        attestor=attestor,
    )  # fmt: skip
    await mesh.start()
    try:
        yield mesh
    finally:
        await mesh.stop()
