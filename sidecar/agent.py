"""The sidecar put together: what starts in which order, what happens when something ends, what is left behind. Decides no traffic.

The order fails closed: the redirect stands before the application starts, and is taken away after it has ended; Envoy has
listeners before the application may call anybody. The end of the agent is the end of Envoy and of the application
(`process`); rules that are left behind then lead nowhere.
"""

from __future__ import annotations

import asyncio
import logging
import os
import signal
from contextlib import suppress
from typing import TYPE_CHECKING

from protos.picket.v1.sidecar_pb2 import SidecarInfo
from sidecar import VERSION, lastgood, process, sds
from sidecar.admin import Admin
from sidecar.bootstrap import bootstrap
from sidecar.capture import CaptureError, Exclusions, Redirect, rules
from sidecar.certifier import GrpcCertifier
from sidecar.configuration import Configuration
from sidecar.draining import Draining
from sidecar.envoy import Envoy, EnvoyError, find_envoy
from sidecar.identity import Identity, IdentityError, IdentitySource
from sidecar.keeper import IdentityKeeper
from sidecar.pages import PagesError
from sidecar.prepared import Prepared
from sidecar.prober import Prober
from sidecar.relay import SECRET, Relay
from sidecar.relayserver import RelayServer, RelayServerError
from sidecar.reporter import Reporter
from sidecar.reports import Reports
from sidecar.settings import PROXY_ID, Settings
from sidecar.spool import Spool, SpoolError
from sidecar.state import StateError, come_to_an_end, prepare, was_cut_off
from sidecar.uplink import Uplink

if TYPE_CHECKING:
    from sidecar.pod import Pod

#: At the end, reports that the control plane can still take are sent for so long; the rest waits in the spool.
LAST_REPORTS_SECONDS = 2.0
#: What is left for an application that was asked to end when the time to drain is over.
KILL_GRACE_SECONDS = 1.0
_log = logging.getLogger("picket.agent")


class StartError(Exception):
    """The sidecar cannot start or go on; the message says why and what to do."""


def run(settings: Settings, application_environment: dict[str, str], umask: int) -> int:
    """Run a sidecar until SIGTERM or SIGINT, or its application's end. Returns the exit code.

    Raises:
        StartError: it cannot start, or can never get an identity.
    """

    async def until_told() -> int:
        stop = asyncio.Event()
        for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
            if signal.getsignal(number) is not signal.SIG_IGN:  # nohup
                asyncio.get_running_loop().add_signal_handler(number, stop.set)
        return await Agent(settings, application_environment, umask).run(stop)

    return asyncio.run(until_told())


class Agent:
    """One sidecar. Make it, `run` it once."""

    def __init__(self, settings: Settings, application_environment: dict[str, str], umask: int) -> None:
        """``application_environment`` and ``umask`` are what the application is to find.

        Raises:
            StartError: something that it needs is missing or taken.
        """
        self._settings = settings
        self._application_environment = application_environment
        self._umask = umask
        join, paths = settings.join, settings.paths
        user = (PROXY_ID, PROXY_ID) if os.geteuid() == 0 else None
        redirected = settings.capture == "redirect"
        try:
            program = find_envoy(settings.envoy)
            cut_off = was_cut_off(paths)
            self._lock = prepare(paths, user)
            self._spool = Spool.open(paths.spool, instance=settings.instance, owner=join.workload)
        except (EnvoyError, StateError, SpoolError) as error:
            raise StartError(str(error)) from error
        self._relay = Relay(lastgood.load(paths.last_good, join.spiffe_id))
        self._kept = lastgood.Writer(paths.last_good, lambda: lastgood.encode(join.spiffe_id, self._relay.last_good))
        self._relay_server = RelayServer(self._relay, paths.agent_socket, owner=user, accepted=self._accepted)
        self._reports = Reports(self._spool)
        prober = Prober(join, settings.instance, loopback=not redirected) if settings.proofs else None
        self._uplink = Uplink(join, Configuration(self._relay_server), self._reports, self._info, prober)
        self._identity = self._source()
        self._envoy = Envoy(
            program,
            paths,
            _bootstrap(settings),
            user=user,
            concurrency=settings.concurrency,
            binds_low_ports=user is not None and not redirected,
            held=self._lock,
            crashed=self._envoy_crashed,
        )
        self._reporter = Reporter(
            paths.access_log, self._spool, workload=join.workload, reopen=self._envoy.reopen_logs,
            failed_writes=self._envoy.failed_writes, interval_seconds=settings.report_interval_seconds,
        )  # fmt: skip
        if cut_off:
            _log.warning("this sidecar was killed, or its machine stopped: what Envoy had not written then is not reported")
            self._reporter.cut_off()
        self._redirect: Redirect | None = None
        self._prepared: Prepared | None = None
        self._pod: Pod | None = None
        self._stopping = False
        self._draining = Draining(Admin(paths.admin_socket), lambda: 0 if self._pod is None else self._pod.hooks_running)
        if redirected and settings.redirect_by == "init":
            self._prepared = Prepared()
            from sidecar.pod import Pod, figures  # noqa: PLC0415  # a sidecar outside a pod is smaller without

            self._pod = Pod(settings, figures(self._uplink, self._spool, self._not_after_seconds), lambda: self._stopping)
        elif redirected:
            excluded = Exclusions(outbound_ports=settings.exclude_outbound_ports)
            self._redirect = Redirect(rules(excluded, outbound_udp=settings.outbound_udp))
        self._application: process.Child | None = None

    def _source(self) -> IdentitySource:
        settings = self._settings
        join, path = settings.join, settings.paths.identity
        if join.workload_api is None:
            certifier = GrpcCertifier(join, settings.join_file)
            return IdentityKeeper(path, join, certifier, self._identified, join_file=settings.join_file)
        from sidecar.workloadapi import WorkloadApi  # noqa: PLC0415  # a sidecar of Picket's own authority is smaller without

        return WorkloadApi(path, join, self._identified)

    async def run(self, stop: asyncio.Event) -> int:
        """Run until ``stop`` or until the application ends. Returns the exit code: the application's, where there is one.

        Raises:
            StartError: it cannot start, or can never get an identity.
        """
        try:
            restored = self._identity.restore()
            await self._relay_server.start()
            if self._redirect is not None:
                await asyncio.to_thread(self._redirect.apply)
            if self._prepared is not None:
                await asyncio.to_thread(self._prepared.check)
            if self._pod is not None:
                await self._pod.start()
            _log.info(
                "starting node=%s capture=%s identity=%s configuration=%s", self._settings.node_id, self._settings.capture,
                "disk" if restored else "to be had", "disk" if self._relay.last_good else "from the control plane",
            )  # fmt: skip
            return await self._serve(stop)
        except (RelayServerError, PagesError, EnvoyError, CaptureError, IdentityError, process.ProcessError) as error:
            raise StartError(str(error)) from error
        finally:
            await self._leave()

    async def _serve(self, stop: asyncio.Event) -> int:
        background = {
            asyncio.create_task(self._identity.run()),
            asyncio.create_task(self._envoy.run()),
            asyncio.create_task(self._uplink.run()),
            asyncio.create_task(self._kept.run()),
        }
        reporting = asyncio.create_task(self._reporter.run())
        background.add(reporting)
        application = asyncio.create_task(self._run_application())
        stopped = asyncio.create_task(stop.wait())
        try:
            done, _ = await asyncio.wait({*background, application, stopped}, return_when=asyncio.FIRST_COMPLETED)
            for task in (*(done & background), *(done & {application})):
                task.result()  # raises what it ended by
            if done & background:
                raise StartError("a part of the sidecar ended")
            if application not in done:
                application.cancel()
                await asyncio.wait({application})
            _log.info("stopping why=%s", "the application ended" if application in done else "asked to")
            return await self._shut_down(reporting)
        finally:
            for task in (*background, application, stopped):
                task.cancel()
            await asyncio.wait({*background, application, stopped})

    async def _run_application(self) -> None:
        """Start the application once its traffic has somewhere to go; return when it ended. Without one, never."""
        wait_seconds = self._settings.app_start_wait_seconds
        try:
            async with asyncio.timeout(wait_seconds if self._settings.command else None):
                await self._envoy.ready()
            await self._kept.flush()  # an application that was started once can be started again without the control plane
            _log.info("ready")
        except TimeoutError:
            _log.error("envoy has no configuration yet, what the application sends is refused waited_seconds=%g", wait_seconds)
        if not self._settings.command:
            await asyncio.Event().wait()
        self._application = await process.start(
            process.Program(
                self._settings.command, self._settings.app_user, environment=self._application_environment, umask=self._umask
            )
        )
        _log.info("application started pid=%d", self._application.pid)
        await self._application.wait()

    async def _shut_down(self, reporting: asyncio.Task[None]) -> int:
        """Drain, end the application, end Envoy, send what is left to report. Returns the exit code."""
        self._stopping = True
        loop = asyncio.get_running_loop()
        deadline = loop.time() + self._settings.drain_seconds
        application = self._application
        if application is None or application.code is None:
            await self._draining.begin()
            # Half of the time is for requests to finish, half for an application that wants to tidy up.
            await self._draining.finished(self._settings.drain_seconds / (1 if application is None else 2))
        code = 0
        if application is not None:
            code = await application.stop(max(KILL_GRACE_SECONDS, deadline - loop.time()))
            _log.info("application ended code=%d", code)
        await self._envoy.stop()
        reporting.cancel()
        await asyncio.wait({reporting})
        await self._reporter.finish()
        come_to_an_end(self._lock)
        if self._uplink.is_connected:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_REPORTS_SECONDS):
                    await self._reports.emptied()
        if self._spool.waiting_batches:
            _log.warning("reports wait in the spool for the next start batches=%d", self._spool.waiting_batches)
        return code

    async def _leave(self) -> None:
        """After everything has ended: write what has to last, take away what others would trip over."""
        if self._application is not None:
            self._application.kill()
            await self._application.wait()  # nothing of it may be left when the redirect goes
        await self._kept.flush()
        self._spool.close()
        await self._relay_server.stop()
        if self._pod is not None:
            await self._pod.stop()
        if self._prepared is not None:
            self._prepared.release()
        if self._redirect is None:
            return
        if not self._settings.command:
            _log.warning("the redirect stays, so that nothing goes around it; to remove it: nft delete table inet picket")
            return
        try:
            await asyncio.to_thread(self._redirect.remove)
        except CaptureError as error:
            _log.error("redirect not removed reason=%r", str(error))

    def _envoy_crashed(self) -> None:
        self._reporter.cut_off()

    def _accepted(self, type_url: str) -> None:
        """Envoy took something: it is to last. Where it took roots, the identity is to be of them, too."""
        self._kept.changed()
        if type_url == SECRET and (roots := next(filter(None, map(sds.roots_of, self._relay.runs(SECRET))), "")):
            self._identity.trusted(roots)

    def _identified(self, identity: Identity) -> None:
        secret = sds.identity_secret(identity.chain_pem.encode(), identity.key_pem.encode())
        self._relay_server.set_identity(identity.version, secret)
        self._uplink.use(identity)

    def _info(self, identity: Identity) -> SidecarInfo:
        return SidecarInfo(
            instance=self._settings.instance,
            agent_version=VERSION,
            envoy_version=self._relay.envoy_version,
            capture=self._settings.capture,
            image_digest=self._settings.image_digest,
            certificate_not_after_seconds=identity.not_after_seconds,
            spool_batches=self._spool.waiting_batches,
            spool_bytes=self._spool.waiting_bytes,
        )

    def _not_after_seconds(self) -> int:
        return 0 if self._identity.current is None else self._identity.current.not_after_seconds


def _bootstrap(settings: Settings) -> bytes:
    return bootstrap(
        node_id=settings.node_id,
        cluster=settings.join.workload,
        agent_socket=settings.paths.agent_socket.name,
        admin_socket=settings.paths.admin_socket.name,
    )
