"""A control plane's process: settings to parts, signals, limits and exit codes. The only place that names a concrete store."""

from __future__ import annotations

import asyncio
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from contextlib import AsyncExitStack
from datetime import UTC, datetime

import structlog

from controlplane.datalock import DataInUseError, locked
from controlplane.delegated import Delegated
from controlplane.identity.authority import AuthorityError
from controlplane.identity.custody import Custody, CustodyError
from controlplane.identity.directory import AuthorityDirectory
from controlplane.identity.generations import Generations
from controlplane.logs import configure_logging
from controlplane.plane import ControlPlane, FailedError, StartError
from controlplane.policy.documents import DocumentError
from controlplane.policy.owners import OwnersError
from controlplane.rotating import Rotating
from controlplane.server.listen import SERVER_NAME
from controlplane.settings import Settings, SettingsError
from controlplane.store.interface import Store, StoreError
from controlplane.store.sql import open_store
from controlplane.topology.document import TopologyError
from controlplane.workloadapi import WorkloadApiIdentity

_log = structlog.get_logger("picket")


async def serve(settings: Settings, started: Callable[[Sequence[str]], None] | None = None) -> None:
    """Run a control plane until SIGTERM or SIGINT.

    Raises:
        StartError: something it needs is missing, wrong or taken.
        FailedError: a part ended by a mistake of ours.
    """
    stop = asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    _allow_many_connections()
    # Threads that write or answer the API give way to the loop, and so to pushes, this soon.
    sys.setswitchinterval(0.001)
    async with AsyncExitStack() as held:
        try:
            settings.data.mkdir(mode=0o700, parents=True, exist_ok=True)
            held.enter_context(locked(settings.data))
            store = open_store(settings.database_url)
        except OSError as error:
            reason = f"{settings.data}: cannot be the data directory: {error.strerror}"
            raise StartError(f"{reason}; choose another with --data") from error
        except (DataInUseError, StoreError) as error:
            raise StartError(str(error)) from error
        held.callback(store.close)
        try:
            identities = await (_delegated(settings, stop) if settings.workload_api else _rotating(settings, store, held))
            if identities is not None:
                await ControlPlane(settings, store, identities).run(stop, started or _announce_start)
        except CustodyError as error:
            option = f"--kubernetes-ca-secret: {error}" if settings.kubernetes_ca_secret else str(error)
            raise StartError(option) from error
        except (AuthorityError, OwnersError, TopologyError, DocumentError, StoreError, SettingsError) as error:
            raise StartError(str(error)) from error


async def _delegated(settings: Settings, stop: asyncio.Event) -> Delegated | None:
    """Identities from the Workload API; nothing where it was told to ``stop`` before the first was had."""
    names = (SERVER_NAME, *settings.server_names)
    identity = WorkloadApiIdentity(settings.workload_api, settings.trust_domain, names, settings.svid_hint)
    waiting, stopped = asyncio.create_task(identity.started()), asyncio.create_task(stop.wait())
    await asyncio.wait((waiting, stopped), return_when=asyncio.FIRST_COMPLETED)
    for task in (waiting, stopped):
        task.cancel()
    await asyncio.wait((waiting, stopped))
    if waiting.cancelled():
        return None
    if (error := waiting.exception()) is not None:
        raise StartError(f"--identity workload-api: {error}") from error
    return Delegated(identity)


async def _rotating(settings: Settings, store: Store, held: AsyncExitStack) -> Rotating:
    """The mesh's own authority."""
    custody = await _custody(settings, held)
    kept = await custody.load()
    _check_clock(kept.generations, datetime.now(UTC))
    return Rotating(settings, store, custody, kept)


async def _custody(settings: Settings, held: AsyncExitStack) -> Custody:
    """Where the mesh's authority is kept: in a directory, or in a Secret of the cluster."""
    if not settings.kubernetes_ca_secret:
        return AuthorityDirectory(settings.ca_directory or settings.data / "ca", settings.trust_domain, settings.rotation.lifetime)
    try:
        from controlplane.kubernetes.authority import AuthoritySecret  # noqa: PLC0415  # an extra that others do not install
        from controlplane.kubernetes.client import Client, KubernetesError  # noqa: PLC0415  # the same
    except ImportError as error:
        raise StartError(f"--kubernetes: {error}; pip install 'picket[kubernetes]'") from error
    try:
        client = await held.enter_async_context(Client())
    except KubernetesError as error:
        raise StartError(f"--kubernetes-ca-secret: {error}") from error
    return AuthoritySecret(client, settings.kubernetes_ca_secret, settings.trust_domain, settings.rotation.lifetime)


def _check_clock(generations: Generations, now: datetime) -> None:
    """Certificates made under a wrong clock are refused by everybody: that is told here, not by each sidecar."""
    certificate = generations.active.certificate
    begins, ends = certificate.not_valid_before_utc, certificate.not_valid_after_utc
    if not begins <= now < ends:
        raise StartError(
            f"the clock says {now:%Y-%m-%d %H:%M} UTC, and the certificate authority is valid from {begins:%Y-%m-%d %H:%M} to "
            f"{ends:%Y-%m-%d}; set the clock, or make a new authority"
        )


def _allow_many_connections() -> None:
    """Each sidecar holds a descriptor; the default limit of 1,024 is for programs that use select(2)."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


def _announce_start(addresses: Sequence[str]) -> None:
    _log.info("ready", listening=list(addresses))


def run_command(settings: Settings) -> int:
    """`picket controlplane`: run, and tell in one line why it cannot."""
    configure_logging(settings.log_level)
    if settings.insecure:
        sys.stderr.write(
            "picket: --insecure: the control channel is PLAINTEXT and peers say themselves who they are; loopback and tests only\n"
        )
    try:
        asyncio.run(serve(settings))
    except StartError as error:
        sys.stderr.write(f"picket: {error}\n")
        return 1
    except FailedError:
        _log.exception("stopped by a failure")
        return 1
    return 0
