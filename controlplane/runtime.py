"""The composition root: the only place that wires the parts together and names a concrete store."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
import sys
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import grpc
import structlog

from controlplane.api import places
from controlplane.api.app import ApiServices, HealthReport, create_app
from controlplane.api.listen import ApiServer, ListenError
from controlplane.flows.model import Verdict, Violation
from controlplane.identity.authority import AuthorityError, CertificateAuthority, load_or_create
from controlplane.identity.spiffe import WorkloadId, parse_workload
from controlplane.identity.tokens import DEFAULT_LIFETIME, new_token, token_hash
from controlplane.metrics import Metrics
from controlplane.observer import StreamObserver
from controlplane.policy.documents import DocumentError
from controlplane.server.ads import AggregatedDiscovery
from controlplane.server.authentication import Authenticator
from controlplane.server.certificates import Certificates
from controlplane.server.snapshots import SnapshotCache
from controlplane.server.telemetry import ReceivedBatch, Telemetry
from controlplane.settings import Listen, Settings, SettingsError
from controlplane.store.interface import BatchReceipt, Store, StoreError
from controlplane.store.sql import open_store
from controlplane.topology.document import TopologyError, load_topology
from controlplane.workflow.publish import Publisher
from controlplane.workflow.record import Recorder, Report
from controlplane.workflow.resolve import Observed, flows_of
from controlplane.workflow.review import Review
from controlplane.workflow.sidecars import SidecarStates
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from protos.picket.v1 import sidecar_pb2, telemetry_pb2

SERVER_NAME = "picket-controlplane"
#: The listeners' own certificate is made anew at this share of its lifetime.
SERVER_CERTIFICATE_LIFETIME = timedelta(days=1)
STOP_GRACE_SECONDS = 3.0
_VERDICTS = {
    telemetry_pb2.ALLOWED: Verdict.ALLOWED,
    telemetry_pb2.WOULD_DENY: Verdict.WOULD_DENY,
    telemetry_pb2.DENIED: Verdict.DENIED,
}
_log = structlog.get_logger("picket")


class StartError(Exception):
    """The control plane cannot start; the message says what, where and what to do."""


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class ControlPlane:
    """One running control plane."""

    def __init__(self, settings: Settings, store: Store, authority: CertificateAuthority) -> None:
        self._settings = settings
        self._store = store
        self._authority = authority
        self._metrics = Metrics()
        trust = Trust(settings.trust_domain, authority.bundle_pem)
        topology = load_topology(settings.topology).topology
        self._publisher = Publisher(store, topology, Compiler(trust), settings.default_mode)
        self._review = Review(store, self._publisher, now_ms)
        self._states = SidecarStates(store, now_ms)
        self._cache = SnapshotCache(self._publisher.snapshot)
        self._observer = StreamObserver(self._states, self._metrics)
        self._authenticator = Authenticator(settings.trust_domain, settings.insecure)
        self._recorder = Recorder(store, now_ms, self._recorded, self._violated)
        self._listening: list[str] = []
        self._enrolling: list[str] = []
        self._ready = threading.Event()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._metrics.gauge("picket_sidecars_connected", "Sidecars with a stream", lambda: self._states.connected_count)
        self._metrics.gauge("picket_sidecars_nacked", "Sidecars that refused a push", lambda: self._states.nacked_count)
        self._metrics.gauge("picket_policy_revision", "Revision in force", lambda: self._publisher.policy.revision)

    # -- what the parts call back ------------------------------------------------------------------------------------

    def _recorded(self, report: Report, receipt: BatchReceipt, seconds: float) -> None:
        self._metrics.store_seconds.observe(seconds)
        self._metrics.batches.labels("stored" if receipt.stored else "repeated").inc()
        if receipt.stored:
            self._metrics.observations.inc(len(report.flows))
        if receipt.gap or report.lost:
            self._metrics.lost.inc(receipt.gap + report.lost)
            _log.warning("telemetry lost", sidecar=report.workload, instance=report.instance, lines=report.lost, batches=receipt.gap)

    def _violated(self, violations: Sequence[Violation]) -> None:
        for violation in violations:
            self._metrics.violations.labels(violation.edge.destination, str(violation.verdict)).inc(violation.count)

    async def _record(self, batch: ReceivedBatch) -> None:
        policy, topology = self._publisher.policy, self._publisher.topology
        flows = [
            flow
            for seen in batch.observations
            for flow in flows_of(_observed(seen), batch.reporter, topology, policy, self._settings.trust_domain)
        ]
        await self._recorder.submit(
            Report(str(batch.reporter), batch.instance, batch.epoch, batch.sequence, batch.lost, flows)
        )

    async def _announce(self, workload: WorkloadId, info: sidecar_pb2.SidecarInfo) -> None:
        self._states.announced(
            str(workload), info.instance, info.agent_version, info.envoy_version, info.capture,
            info.certificate_not_after_seconds * 1000,
        )  # fmt: skip

    async def _admit(self, token: str) -> WorkloadId | None:
        def use() -> str | None:
            with self._store.transaction() as transaction:
                return transaction.use_join_token(token_hash(token), now_ms())

        workload = await asyncio.to_thread(use)
        return None if workload is None else parse_workload(workload)

    def _new_join_token(self, workload: str, lifetime_seconds: int, actor: str) -> dict[str, object]:
        """A join document: all that a new sidecar needs, for one use."""
        name = parse_workload(workload)
        if name not in self._publisher.topology.by_workload:
            raise ValueError(f"no service in the topology has the workload {name}")
        token = new_token()
        lifetime = lifetime_seconds or int(DEFAULT_LIFETIME.total_seconds())
        with self._store.transaction() as transaction:
            transaction.add_join_token(token_hash(token), str(name), now_ms() + lifetime * 1000, now_ms())
            transaction.add_audit(actor, "token:create", str(name), "{}", now_ms())
        return {
            "control_plane": self._listening[0],
            "enrollment": self._enrolling[0],
            "trust_domain": self._settings.trust_domain,
            "workload": str(name),
            "token": token,
            "bundle_pem": self._authority.bundle_pem.decode(),
            "server_name": SERVER_NAME,
            "insecure": self._settings.insecure,
        }

    def _health(self) -> HealthReport:
        reasons = []
        if not self._ready.is_set():
            reasons.append("starting or stopping")
        try:
            self._store.ping()
        except StoreError as error:
            reasons.append(str(error))
        return HealthReport(live=True, ready=not reasons, reasons=tuple(reasons))

    # -- running -----------------------------------------------------------------------------------------------------

    async def run(self, stop: asyncio.Event, started: Callable[[Sequence[str]], None]) -> None:
        """Serve until ``stop``; then finish what is under way.

        Raises:
            StartError: an address in use or not to be had.
        """
        self._loop = asyncio.get_running_loop()
        loop = self._loop
        self._publisher.connect(
            deliver=lambda snapshots: _on_loop(loop, lambda: self._cache.replace(snapshots)),
            watched=lambda: self._cache.watched,
        )
        mesh, enrollment = self._servers()
        api: ApiServer | None = None
        background: list[asyncio.Task[None]] = []
        try:
            api = self._api()
            await mesh.start()
            await enrollment.start()
            background = [asyncio.create_task(self._recorder.run()), asyncio.create_task(self._states.run())]
            self._ready.set()
            started([*(f"gRPC {a}" for a in self._listening), *(f"enrollment {a}" for a in self._enrolling), f"API {api.address}"])
            await stop.wait()
        finally:
            self._ready.clear()
            await enrollment.stop(STOP_GRACE_SECONDS)
            await mesh.stop(STOP_GRACE_SECONDS)
            if api is not None:
                await asyncio.to_thread(api.close)
                places.address_file(self._settings.data).unlink(missing_ok=True)
        self._recorder.close()
        await background[0]
        background[1].cancel()
        with suppress(asyncio.CancelledError):
            await background[1]
        await self._states.flush()

    def _servers(self) -> tuple[grpc.aio.Server, grpc.aio.Server]:
        options = [
            ("grpc.max_receive_message_length", 4 * 1024 * 1024),
            ("grpc.max_send_message_length", 64 * 1024 * 1024),
            ("grpc.so_reuseport", 0),
            ("grpc.keepalive_time_ms", 30_000),
            ("grpc.keepalive_timeout_ms", 10_000),
            ("grpc.http2.min_ping_interval_without_data_ms", 5_000),
            ("grpc.keepalive_permit_without_calls", 1),
        ]
        mesh = grpc.aio.server(options=options)
        enrollment = grpc.aio.server(options=options, maximum_concurrent_rpcs=64)
        discovery = AggregatedDiscovery(self._cache, self._authenticator, self._observer)
        telemetry = Telemetry(self._authenticator, self._record, self._announce, self._observer.refused)
        certificates = Certificates(
            self._authority,
            self._authenticator,
            self._admit,
            timedelta(seconds=self._settings.svid_lifetime_seconds),
            lambda how: self._metrics.certificates.labels(how).inc(),
        )
        mesh.add_generic_rpc_handlers((discovery.handlers(), *telemetry.handlers(), certificates.mesh_handlers()))
        enrollment.add_generic_rpc_handlers((certificates.enrollment_handlers(),))
        self._listening = [self._bind(mesh, listen, client_certificates=True) for listen in self._settings.grpc_listen]
        self._enrolling = [self._bind(enrollment, listen, client_certificates=False) for listen in self._settings.enroll_listen]
        return mesh, enrollment

    def _bind(self, server: grpc.aio.Server, listen: Listen, *, client_certificates: bool) -> str:
        if listen.path:
            _remove_stale_socket(Path(listen.path))
        try:
            if self._settings.insecure:
                port = server.add_insecure_port(listen.target)
            else:
                port = server.add_secure_port(listen.target, self._credentials(client_certificates))
        except RuntimeError as error:
            raise StartError(f"{listen.target}: cannot listen there; is another control plane running, or the port in use?") from error
        if listen.path:
            os.chmod(listen.path, 0o666)  # whoever connects still has to prove an identity, or hold a join token
            return listen.target
        return f"{listen.host}:{port}"

    def _credentials(self, client_certificates: bool) -> grpc.ServerCredentials:
        """The listeners' certificate, made anew before it ends; connections that stand are not touched."""
        names = (SERVER_NAME, *self._settings.server_names)
        made: dict[str, datetime] = {}

        def make() -> grpc.ServerCertificateConfiguration:
            now = datetime.now(UTC)
            made["at"] = now
            key, chain = self._authority.issue_server(names, SERVER_CERTIFICATE_LIFETIME, now)
            roots = self._authority.bundle_pem if client_certificates else None
            return grpc.ssl_server_certificate_configuration([(key, chain)], root_certificates=roots)

        def fetch() -> grpc.ServerCertificateConfiguration | None:
            if datetime.now(UTC) - made["at"] < SERVER_CERTIFICATE_LIFETIME / 2:
                return None
            return make()

        return grpc.dynamic_ssl_server_credentials(make(), fetch, require_client_authentication=client_certificates)

    def _api(self) -> ApiServer:
        listen = self._settings.api_listen
        services = ApiServices(
            store=self._store,
            review=self._review,
            publisher=self._publisher,
            clock_ms=now_ms,
            health=self._health,
            metrics=self._metrics.render,
            new_join_token=self._new_join_token,
            token=self._api_token(),
            host_names=(*self._settings.api_host_names, listen.host),
        )
        if listen.path:
            _remove_stale_socket(Path(listen.path))
        try:
            server = ApiServer(create_app(services), listen)
            places.write_private(places.address_file(self._settings.data), server.address + "\n")
        except (ListenError, places.PlaceError) as error:
            raise StartError(str(error)) from error
        return server

    def _api_token(self) -> str | None:
        """The token that callers over TCP bring; made where none was given."""
        given = self._settings.api_token_file
        try:
            if given is not None:
                token, warning = places.read_token(given)
                if warning:
                    _log.warning("API token", warning=warning)
                return token
            return None if self._settings.api_listen.path else places.keep_token(places.token_file(self._settings.data))
        except places.PlaceError as error:
            raise StartError(str(error)) from error


def _observed(seen: telemetry_pb2.Observation) -> Observed:
    return Observed(
        inbound=seen.direction == telemetry_pb2.INBOUND,
        verdict=_VERDICTS[seen.verdict],
        port=seen.port,
        protocol=seen.protocol,
        count=seen.count,
        first_seen_ms=seen.first_seen_ms,
        last_seen_ms=seen.last_seen_ms,
        peer_id=seen.peer_id,
        peer_address=seen.peer_address,
        dialled_address=seen.dialled_address,
        method=seen.method,
        path=seen.path,
        host=seen.host,
        server_name=seen.server_name,
        deny_id=seen.deny_id,
        reason=seen.reason,
    )


def _on_loop(loop: asyncio.AbstractEventLoop, act: Callable[[], object]) -> None:
    """Run something on the server's loop from any thread, and wait until it ran."""
    done = threading.Event()

    def run() -> None:
        act()
        done.set()

    if threading.current_thread() is threading.main_thread():
        run()
        return
    loop.call_soon_threadsafe(run)
    done.wait(timeout=5)


def _remove_stale_socket(path: Path) -> None:
    """Remove a socket that nobody listens on any more.

    Raises:
        StartError: somebody does.
    """
    if not path.exists():
        return
    with socket.socket(socket.AF_UNIX) as probe:
        try:
            probe.connect(str(path))
        except OSError:
            path.unlink(missing_ok=True)
            return
    raise StartError(f"{path}: another process listens there; stop it, or choose another path")


def configure_logging(level: str) -> None:
    """One JSON line per event on standard error."""
    levels = {"debug": 10, "info": 20, "warning": 30, "error": 40}
    structlog.configure(
        processors=[
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger(levels[level]),
        logger_factory=structlog.PrintLoggerFactory(sys.stderr),
    )


async def serve(settings: Settings, started: Callable[[Sequence[str]], None] | None = None) -> None:
    """Run a control plane until SIGTERM or SIGINT.

    Raises:
        StartError: something it needs is missing, wrong or taken.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
    try:
        store = open_store(settings.database_url)
    except StoreError as error:
        raise StartError(str(error)) from error
    try:
        authority = load_or_create(settings.data / "ca", settings.trust_domain)
        plane = ControlPlane(settings, store, authority)
        await plane.run(stop, started or _announce_start)
    except (AuthorityError, TopologyError, DocumentError, StoreError, SettingsError) as error:
        raise StartError(str(error)) from error
    finally:
        store.close()


def _announce_start(addresses: Sequence[str]) -> None:
    _log.info("ready", listening=list(addresses))


def run_command(settings: Settings) -> int:
    """`picket controlplane`: run, and tell in one line why it cannot."""
    configure_logging(settings.log_level)
    if settings.insecure:
        print(
            "picket: --insecure: the control channel is PLAINTEXT and peers say themselves who they are; loopback and tests only",
            file=sys.stderr,
        )
    try:
        asyncio.run(serve(settings))
    except StartError as error:
        print(f"picket: {error}", file=sys.stderr)
        return 1
    return 0


