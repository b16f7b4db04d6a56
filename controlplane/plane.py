"""One running control plane: its parts, wired together, started and stopped in their order. Names no concrete store.

What a process around it needs (settings, signals, the database) is `controlplane.runtime`'s.
"""

from __future__ import annotations

import asyncio
import secrets
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from contextlib import suppress
from datetime import timedelta
from functools import partial
from typing import TYPE_CHECKING

import grpc
import structlog

from controlplane.api import places
from controlplane.api.app import ApiServices, HealthReport, create_app
from controlplane.api.listen import ListenError as ApiListenError
from controlplane.api.listen import keepers
from controlplane.api.userfile import UserFileError, read_users, retire
from controlplane.apis import Apis
from controlplane.collection import FullCollections
from controlplane.delegated import ISSUES_NOTHING
from controlplane.flows.model import Flow
from controlplane.fronts import Fronts
from controlplane.graph.gate import Gate
from controlplane.identities import Identities
from controlplane.identity.spiffe import WorkloadId, parse_workload
from controlplane.kubernetes.injection.rules import RulesError
from controlplane.metrics import Metrics
from controlplane.observer import ReportObserver, StreamObserver
from controlplane.policy.objects import Standing
from controlplane.policy.owners import Owners, read_owners
from controlplane.policy.proofs import Proof
from controlplane.server import listen
from controlplane.server.ads import AggregatedDiscovery
from controlplane.server.authentication import Authenticator
from controlplane.server.certificates import Certificates, NoCertificates
from controlplane.server.instances import Instances
from controlplane.server.probes import Probes
from controlplane.server.snapshots import SnapshotCache
from controlplane.server.streams import OpenStreams
from controlplane.server.telemetry import Telemetry
from controlplane.settings import Settings, advertised
from controlplane.sinks.dispatch import Sinks
from controlplane.sinks.document import read_sinks
from controlplane.store.interface import Store, StoreError
from controlplane.store.stored import Prunable
from controlplane.tlsfront import FrontError
from controlplane.topology.document import load_topology
from controlplane.topology.model import Topology
from controlplane.topology.unmeshed import Gaps
from controlplane.web.app import create_console, together
from controlplane.web.oidc.document import read_oidc
from controlplane.web.sessions import Sessions
from controlplane.web.tails import Tails
from controlplane.workflow.accounts import Accounts
from controlplane.workflow.admission import Admission
from controlplane.workflow.agreement import Agreement
from controlplane.workflow.approved import ApprovedDocuments
from controlplane.workflow.breakglass import BreakGlass
from controlplane.workflow.catchingup import CatchingUp
from controlplane.workflow.images import SourceImages
from controlplane.workflow.incidents import Incidents
from controlplane.workflow.labelled import LabelledModes
from controlplane.workflow.presence import Presence
from controlplane.workflow.proposing import Watchlist
from controlplane.workflow.proving import Proving
from controlplane.workflow.publish import Change, Publisher
from controlplane.workflow.record import Recorder
from controlplane.workflow.resolve import Observed, Surroundings, flows_of
from controlplane.workflow.retention import Keep, Retention, bounds
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Refused, Why
from controlplane.workflow.rollouts import Rollouts
from controlplane.workflow.sidecars import Announced, SidecarStates
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from protos.picket.v1.sidecar_pb2 import SidecarInfo

if TYPE_CHECKING:
    from controlplane.kubernetes.cluster import Cluster
    from controlplane.kubernetes.topology import Found

STOP_GRACE_SECONDS = 3.0
STORE_RETRY_SECONDS = 1.0
_log = structlog.get_logger("picket")


class StartError(Exception):
    """The control plane cannot start; the message says what, where and what to do."""


class FailedError(Exception):
    """A part of a running control plane ended by a mistake of ours, the cause; going on without it would hide that."""


def now_ms() -> int:
    """Unix time in milliseconds."""
    return time.time_ns() // 1_000_000


class ControlPlane:
    """One running control plane."""

    def __init__(self, settings: Settings, store: Store, identities: Identities) -> None:
        self._settings = settings
        self._store = store
        self._metrics = Metrics()
        self._identities = identities
        self._authority = authority = identities.authority
        self._file = Topology() if settings.topology is None else load_topology(settings.topology).topology
        compiler = Compiler(Trust(settings.trust_domain, authority.bundle_pem))
        self._publisher = Publisher(store, self._file, compiler, settings.default_mode)
        gate = Gate(settings.gate_min_days, settings.gate_max_denials) if settings.gate_min_days else None
        watchlist = Watchlist(settings.sensitive, settings.low_trust)
        owners = Owners if settings.owners is None else partial(read_owners, settings.owners)
        owners()  # a file that cannot be read is told at the start, too
        agreement = Agreement(store, now_ms, owners, four_eyes=settings.four_eyes, keepers=keepers())
        self._review = Review(store, self._publisher, now_ms, gate, watchlist, settings.unused_days, agreement)
        self._labelled = LabelledModes(store, self._publisher, self._review.modes)
        self._admission = Admission(store, self._is_known, now_ms)
        name = secrets.token_hex(8)
        self._states = SidecarStates(store, now_ms, name)
        self._presence = Presence(store, self._publisher, name, now_ms, self._states.say_again)
        self._images = SourceImages(store)
        self._cache = SnapshotCache(self._publisher.snapshot, self._publisher.staged)
        sinks = () if settings.sinks is None else read_sinks(settings.sinks)
        self._sinks = Sinks(sinks, now_ms, lambda *labels: self._metrics.sink_events.labels(*labels[:2]).inc(labels[2]))
        self._recorder = Recorder(store, now_ms, ReportObserver(self._metrics, self._sinks.violated))
        self._keep = Keep(
            violations_days=settings.keep_violations_days,
            edges_days=settings.keep_edges_days,
            sidecars_days=settings.keep_sidecars_days,
            history_days=settings.keep_history_days,
        )
        self._retention = Retention(store, self._keep, now_ms, self._on_removed, self._review.leases.keep_last_uses)
        self._proving = Proving(store, self._publisher, now_ms, settings.prove_hours, self._on_proof)
        self._streams = (OpenStreams(), OpenStreams(), OpenStreams())
        self._listening: list[str] = []
        self._enrolling: list[str] = []
        self._ready = threading.Event()
        try:
            self._fronts = Fronts(settings, authority)
        except RulesError as error:
            raise StartError(f"--injection: {error}") from error
        self._cluster = _cluster_of(settings, self._declare, lambda: authority.bundle_pem, self._fronts.without_sidecars)
        self._mesh, self._enrollment = self._servers()
        self._accounts = Accounts(store, now_ms)
        self._oidc = None if settings.oidc is None else read_oidc(settings.oidc)
        self._apis = Apis(settings)
        self._tails = Tails()
        self._background: dict[str, asyncio.Task[None]] = {}
        self._measure()

    def _measure(self) -> None:
        """Figures that are read when somebody asks for them."""
        gauge = self._metrics.gauge
        gauge("picket_sidecars_connected", "Sidecars with a stream", lambda: self._states.connected_count)
        gauge("picket_sidecars_nacked", "Connected sidecars that refused a push", lambda: self._states.nacked_count)
        gauge("picket_policy_revision", "Revision in force", lambda: self._publisher.policy.revision)
        gauge("picket_snapshots_outdated", "Workloads to which the revision in force is not sent yet", lambda: self._cache.outdated)
        gauge("picket_flows_waiting", "Flows that wait to be stored", lambda: self._recorder.waiting_flows)
        gauge("picket_unmeshed_replicas", "Pods that should have a sidecar and have none", lambda: len(self._gaps().replicas))
        self._identities.measure(self._metrics, self._states.lagging)
        gauge("picket_policy_objects_differing", "TrafficPolicy objects that are not what is in force", self._objects_differing)

    # -- what the parts ask -------------------------------------------------------------------------------------------

    def _is_known(self, workload: WorkloadId) -> bool:
        return workload in self._publisher.topology.by_workload

    def _resolve(self, observed: Sequence[Observed], reporter: WorkloadId, instance: str) -> list[Flow]:
        now = self._publisher.in_force
        given = Surroundings(now.topology, now.policy, self._settings.trust_domain, now_ms(), instance, self._image_of)
        return [flow for seen in observed for flow in flows_of(seen, reporter, given)]

    async def _declare(self, found: Found) -> None:
        """What the cluster holds, and what the file says beside it: hosts outside, mostly."""
        topology = Topology({**self._file.services, **found.topology.services})
        while True:
            try:
                await asyncio.to_thread(self._publisher.declare, topology)
                await asyncio.to_thread(self._labelled.follow, found.modes)
                return
            except StoreError as error:
                _log.error("cluster not taken in", error=str(error))
                await asyncio.sleep(STORE_RETRY_SECONDS)

    def _image_of(self, workload: str, place: str) -> str:
        """What the cluster says that a replica runs, else what its sidecar says."""
        of_cluster = "" if self._cluster is None else self._cluster.discovery.found.images.get((workload, place), "")
        return of_cluster or self._images.of(workload, place)

    def _on_proof(self, proof: Proof) -> None:
        self._metrics.proofs.labels(str(proof.status)).inc()
        self._sinks.proved(proof)

    def _gaps(self) -> Gaps:
        return Gaps() if self._cluster is None else self._cluster.discovery.found.gaps

    def _objects(self) -> tuple[Standing, ...]:
        return () if self._cluster is None else self._cluster.standings()

    def _objects_differing(self) -> int:
        return sum(standing.needs_a_look for standing in self._objects())

    def _on_removed(self, what: Prunable, count: int) -> None:
        self._metrics.removed_rows.labels(str(what)).inc(count)
        if what is Prunable.SIDECARS:
            self._states.forget(bounds(self._keep, now_ms())[what])

    async def _announce(self, workload: WorkloadId, info: SidecarInfo, address: str) -> None:
        said = Announced(
            info.agent_version, info.envoy_version, info.capture, info.certificate_not_after_seconds * 1000, info.image_digest,
            address,
        )  # fmt: skip
        self._states.announced(str(workload), info.instance, said)

    def _new_join_token(self, workload: str, lifetime_seconds: int, actor: str) -> dict[str, object] | Refused:
        """A join document: all that a new sidecar needs, for one use."""
        if self._identities.issuer is None:
            return Refused(ISSUES_NOTHING, Why.CONFLICT)
        name = parse_workload(workload)
        names = (*self._settings.server_names, socket.gethostname())
        return {
            "control_plane": advertised(self._listening[0], names),
            "enrollment": advertised(self._enrolling[0], names),
            "trust_domain": self._settings.trust_domain,
            "workload": str(name),
            "token": self._admission.new_token(name, lifetime_seconds, actor),
            "bundle_pem": self._authority.bundle_pem.decode(),
            "server_name": listen.SERVER_NAME,
            "insecure": self._settings.insecure,
        }

    def _health(self) -> HealthReport:
        reasons = []
        if not self._ready.is_set():
            reasons.append("starting or stopping")
        if self._cluster is not None and not self._cluster.discovery.known.is_set():
            reasons.append("the cluster is not known yet")
        if reason := self._identities.why_not_ready():
            reasons.append(reason)
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
            FailedError: a part ended by a mistake of ours.
        """
        loop = asyncio.get_running_loop()

        def changed(change: Change) -> None:
            loop.call_soon_threadsafe(self._cache.outdate, change)
            if self._cluster is not None:
                loop.call_soon_threadsafe(self._cluster.policy_changed)

        self._publisher.connect(changed)
        cluster = () if self._cluster is None else (self._cluster.trust_changed,)
        self._identities.begin(self._publisher.trust, self._fronts.authority_changed, *cluster)
        try:
            await self._start(stop, started)
            stopped = asyncio.create_task(stop.wait())
            await asyncio.wait((stopped, *self._background.values()), return_when=asyncio.FIRST_COMPLETED)
            stopped.cancel()
        finally:
            await self._stop()
        self._raise_failed()

    def _raise_failed(self) -> None:
        for name, task in self._background.items():
            if task.done() and not task.cancelled() and (error := task.exception()) is not None:
                raise FailedError(f"{name}: {error!r}") from error

    def _take_in_users(self) -> None:
        """Users whom an older version kept in a file of this control plane are everybody's from now on."""
        file = places.users_file(self._settings.data)
        try:
            if users := read_users(file):
                _log.info("users", taken_in=self._accounts.adopt(users), file=str(file))
            retire(file)
        except UserFileError as error:
            raise StartError(str(error)) from error

    async def _start(self, stop: asyncio.Event, started: Callable[[Sequence[str]], None]) -> None:
        self._take_in_users()
        self._sinks.start()
        self._bind()
        await asyncio.to_thread(self._review.modes.note_default)
        self._presence.begin()  # nobody is connected yet, and whoever looks is told so
        self._serve_api()
        try:
            fronts = await self._fronts.start(self._apis.servers)
        except (FrontError, ApiListenError) as error:
            raise StartError(str(error)) from error
        if self._cluster is not None:
            running = self._background["cluster"] = asyncio.create_task(self._cluster.run())
            await self._cluster.known(stop, running)  # until then it would have to tell sidecars that they do not exist
            self._raise_failed()
        await self._mesh.start()
        await self._enrollment.start()
        self._background |= {
            "recorder": asyncio.create_task(self._recorder.run()),
            "sidecar states": asyncio.create_task(self._states.run()),
            "snapshots": asyncio.create_task(self._cache.run()),
            "catching up": asyncio.create_task(CatchingUp(self._publisher).run()),
            "images": asyncio.create_task(self._images.run()),
            "retention": asyncio.create_task(self._retention.run()),
            "incidents": asyncio.create_task(Incidents(self._store, self._publisher, now_ms, self._sinks.grouped).run()),
            "break-glass": asyncio.create_task(BreakGlass(self._store, self._publisher, now_ms).run()),
            "rollouts": asyncio.create_task(Rollouts(self._store, self._publisher, self._review.modes, now_ms).run()),
            "fronts": asyncio.create_task(self._fronts.run()),
            "authority": asyncio.create_task(self._identities.run()),
            "garbage": asyncio.create_task(FullCollections(lambda: self._cache.outdated > 0).run()),
        }
        if self._cluster is not None and (configuration := self._settings.webhook_configuration):
            kept = self._cluster.keep_trust(configuration)
            self._background["webhook trust"] = asyncio.create_task(kept)
        if self._cluster is not None and (self._settings.kubernetes_policies or self._settings.kubernetes_approvals):
            review = self._review if self._settings.kubernetes_policies else None
            approved = ApprovedDocuments(self._store, self._publisher) if self._settings.kubernetes_approvals else None
            following = self._cluster.follow_policies(review, lambda: self._publisher.policy, approved)
            self._background["policies"] = asyncio.create_task(following)
        if self._store.is_shared:
            self._background["presence"] = asyncio.create_task(self._presence.run())
        if self._settings.proofs:
            self._background["proofs"] = asyncio.create_task(self._proving.run(self._probes))
        self._ready.set()
        addresses = [*(f"gRPC {a}" for a in self._listening), *(f"enrollment {a}" for a in self._enrolling)]
        started([*addresses, *(f"API {api.address}" for api in self._apis.servers), *fronts])

    async def _stop(self) -> None:
        """Not ready; streams end and what they sent is stored; then the API and the background."""
        self._ready.clear()
        for streams in self._streams:
            streams.stop()
        await asyncio.gather(self._enrollment.stop(STOP_GRACE_SECONDS), self._mesh.stop(STOP_GRACE_SECONDS))
        self._tails.stop()
        await asyncio.to_thread(self._apis.close)
        await self._fronts.stop()  # by now what was asked over TLS is answered, too
        self._recorder.close()
        self._states.close()
        for name in self._background.keys() - {"recorder", "sidecar states"}:  # those store what is left, and end
            self._background[name].cancel()
        if self._background:
            await asyncio.wait(self._background.values())
        await asyncio.to_thread(self._sinks.stop)
        if self._cluster is not None:
            await self._cluster.close()
        with suppress(StoreError):  # the others notice all the same
            await asyncio.to_thread(self._presence.end)

    def _servers(self) -> tuple[grpc.aio.Server, grpc.aio.Server]:
        observer = StreamObserver(self._states, self._metrics)
        authenticator = Authenticator(self._settings.trust_domain, self._settings.insecure)
        instances = Instances()
        discovery = AggregatedDiscovery(self._cache, authenticator, observer, self._streams[0], instances)
        telemetry = Telemetry(
            authenticator, self._recorder, self._resolve, self._announce, observer.refused, self._streams[1], instances
        )
        self._probes = Probes(authenticator, self._proving.answered, observer.refused, self._streams[2], instances)
        certificates = self._certificates(authenticator, observer)
        mesh, enrollment = listen.mesh_server(), listen.enrollment_server()
        mesh.add_generic_rpc_handlers((discovery.handlers(), *telemetry.handlers(), certificates.mesh_handlers()))
        if self._settings.proofs:
            mesh.add_generic_rpc_handlers((self._probes.handlers(),))
        enrollment.add_generic_rpc_handlers((certificates.enrollment_handlers(),))
        return mesh, enrollment

    def _certificates(self, authenticator: Authenticator, observer: StreamObserver) -> Certificates | NoCertificates:
        """Who signs for sidecars, or who tells them that nobody does."""
        if (issuer := self._identities.issuer) is None:
            return NoCertificates(ISSUES_NOTHING, observer.refused)
        return Certificates(
            issuer,
            authenticator,
            self._admission,
            timedelta(seconds=self._settings.svid_lifetime_seconds),
            self._is_known,
            lambda how: self._metrics.certificates.labels(how).inc(),
            observer.refused,
            None if self._cluster is None else self._cluster.attestor,
        )

    def _bind(self) -> None:
        settings = self._settings
        for server, addresses, bound in (
            (self._mesh, settings.grpc_listen, self._listening),
            (self._enrollment, settings.enroll_listen, self._enrolling),
        ):
            for address in addresses:
                credentials = None
                if not settings.insecure:
                    credentials = listen.server_credentials(
                        self._authority, settings.server_names, client_certificates=server is self._mesh
                    )
                try:
                    bound.append(listen.bind(server, address, credentials))
                except listen.ListenError as error:
                    raise StartError(str(error)) from error

    def _serve_api(self) -> None:
        try:
            token = self._apis.token()
        except places.PlaceError as error:
            raise StartError(str(error)) from error
        services = ApiServices(
            store=self._store,
            review=self._review,
            publisher=self._publisher,
            clock_ms=now_ms,
            health=self._health,
            metrics=self._metrics.render,
            new_join_token=self._new_join_token,
            token=token,
            proofs=self._settings.proofs,
            accounts=self._accounts,
            sinks=self._sinks.states,
            delegated=self._identities.issuer is None,
            keep=self._keep,
            gaps=self._gaps,
            authority=self._identities.state,
            rotate=self._identities.take,
            objects=self._objects,
            host_names=(*self._settings.api_host_names, *(address.host for address in self._settings.api_listen)),
        )
        # Control planes that share a database and were given no token have one each, and the owner of one is that of all.
        differ = self._store.is_shared and self._settings.api_token_file is None
        sessions = Sessions(self._store, now_ms, "" if token is None or differ else token)
        served = together(create_app(services), create_console(services, sessions, self._oidc, self._tails))
        try:
            self._apis.serve(served, None if self._store.audit(1) else sessions.new_link)
        except (listen.ListenError, ApiListenError, places.PlaceError) as error:
            raise StartError(str(error)) from error


def _cluster_of(
    settings: Settings,
    declare: Callable[[Found], Awaitable[None]],
    bundle_pem: Callable[[], bytes],
    without_sidecars: Collection[str],
) -> Cluster | None:
    """The cluster to run for, if any."""
    if not settings.kubernetes:
        return None
    try:
        from controlplane.kubernetes.client import KubernetesError  # noqa: PLC0415  # an extra that others do not install
        from controlplane.kubernetes.cluster import Cluster  # noqa: PLC0415  # the same
    except ImportError as error:
        raise StartError(f"--kubernetes: {error}; pip install 'picket[kubernetes]'") from error
    try:
        return Cluster(settings.kubernetes_audience, declare, bundle_pem, without_sidecars)
    except KubernetesError as error:
        raise StartError(f"--kubernetes: {error}") from error
