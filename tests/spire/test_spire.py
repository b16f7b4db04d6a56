"""Identities of real SPIRE: had, pushed anew under traffic, let through and denied by real Envoys under their names."""

from __future__ import annotations

import asyncio
import os
import shutil
import time
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from cryptography import x509
from cryptography.exceptions import InvalidSignature

from controlplane.demo import tour
from controlplane.demo.mesh import Mesh
from controlplane.demo.plan import Plan
from controlplane.demo.plane import Plane
from controlplane.demo.processes import CONTROL_PLANE, Processes
from controlplane.demo.services.messages import Result
from controlplane.demo.tour import Tour
from controlplane.demo.traces import Traces
from controlplane.server.listen import SERVER_NAME
from sidecar.identity import Identity, load
from sidecar.join import WorkloadApiAddress
from sidecar.workloadapi import WorkloadApi
from tests.e2e.meshes import eventually, learn, put_into, running, sidecars
from tests.harness.directories import short_directory
from tests.sidecar.joins import join
from tests.sidecar.waiting import until
from tests.spire import servers
from tests.spire.servers import Spire

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(servers.lacking()), reason=servers.lacking())]
TRUST_DOMAIN = "picket.test"
#: Each rotation comes at half of it; SPIRE dates certificates back by ten seconds.
SVID_SECONDS = 40
TOWN = """
services:
- {name: web, kind: service, ports: [{port: 8080, protocol: http}]}
- {name: cart, kind: service, ports: [{port: 7070, protocol: http}]}
edges:
- {from: web, to: cart, port: 7070, protocol: http, requests: [{method: GET, path: /}]}
"""
#: What SPIRE tells processes apart by here: a supplementary group for each.
GROUPS = {CONTROL_PLANE: 70_001, "default/web": 70_002, "default/cart": 70_003}


_TOLD_APART = pytest.mark.skipif(
    os.geteuid() != 0 or shutil.which("setpriv") is None,
    reason="needs root and setpriv: SPIRE tells processes apart by their groups",
)


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory("spire") as made:
        yield made


@pytest.fixture
async def spire(directory: Path) -> AsyncIterator[Spire]:
    async with servers.running(directory, TRUST_DOMAIN, svid_ttl=f"{SVID_SECONDS}s") as made:
        yield made


# -- one sidecar's identity -------------------------------------------------------------------------------------------


def source(spire: Spire, used: list[Identity], hint: str = "") -> WorkloadApi:
    """This process as the sidecar of shop/cart."""
    address = WorkloadApiAddress(f"unix:{spire.directory}/agent.sock", hint)
    return WorkloadApi(spire.directory / "identity.json", join(workload_api=address, enrollment="", bundle_pem=""), used.append)


async def test_who_is_registered_later_has_it_then_and_anew_before_it_ends_and_after_the_agent_was_away(
    spire: Spire, caplog: pytest.LogCaptureFixture
) -> None:
    used: list[Identity] = []
    running_source = asyncio.create_task(source(spire, used).run())
    try:
        await until(lambda: "PERMISSION_DENIED" in caplog.text)
        assert not used
        await spire.register("/ns/shop/sa/web", f"unix:uid:{os.geteuid()}")
        await until(lambda: "and not spiffe://picket.test/ns/shop/sa/cart" in caplog.text)
        await spire.register("/ns/shop/sa/cart", f"unix:uid:{os.geteuid()}", "-hint", "mesh")
        await until(lambda: len(used) == 1)
        await until(lambda: len(used) == 2, SVID_SECONDS)
        assert used[0].not_after_seconds > used[1].not_before_seconds
        await spire.stop_agent()
        await until(lambda: "UNAVAILABLE" in caplog.text)
        await spire.start_agent()
        await until(lambda: len(used) >= 3, SVID_SECONDS)
    finally:
        running_source.cancel()
        await asyncio.wait({running_source})
    assert {identity.spiffe_id for identity in used} == {"spiffe://picket.test/ns/shop/sa/cart"}
    assert source(spire, used).restore()


# -- a mesh -----------------------------------------------------------------------------------------------------------


class _Processes(Processes):
    """The demo's, with SPIRE in place of the mesh's own authority: each process in the group that SPIRE knows it by."""

    def __init__(self, plan: Plan, traces: Traces, certificate: tuple[Path, Path], address: str) -> None:
        super().__init__(plan, traces, certificate)
        self._spiffe = ["--identity", "workload-api", "--workload-api", address, "--trust-domain", TRUST_DOMAIN]

    def _start(self, name: str, command: Sequence[str]) -> None:
        given = list(command)
        if name == CONTROL_PLANE:
            given += self._spiffe
        elif "--join" in given:
            at = given.index("--join")
            given[at : at + 2] = [*self._spiffe, "--workload", name, "--control-plane", f"unix:{self.root}/grpc.sock"]
        if name in GROUPS:
            given = ["setpriv", "--groups", str(GROUPS[name]), "--", *given]
        super()._start(name, given)


class _Plane(Plane):
    """The demo's, which hands out no tokens."""

    async def join_document(self, workload: str) -> bytes:
        return b"{}"


async def answered(mesh: Mesh, attempts: Sequence[tour.Attempt]) -> list[bool]:
    """Make calls; which of them came through."""
    return [outcome.result is Result.ANSWERED for _, outcome in await tour.make(attempts, mesh.applications)]


@dataclass
class Traffic:
    """Calls without a pause; how many there were, and what was happening when one failed."""

    calls: int = 0
    during: str = ""
    failed: list[str] = field(default_factory=list)

    @asynccontextmanager
    async def running(self, mesh: Mesh, attempts: Sequence[tour.Attempt]) -> AsyncIterator[None]:
        async def call() -> None:
            while True:
                results = await answered(mesh, attempts)
                self.calls += len(results)
                self.failed += [self.during] * results.count(False)

        calling = asyncio.create_task(call())
        try:
            yield
            assert not calling.done()
        finally:
            calling.cancel()
            await asyncio.wait({calling})


def identities(mesh: Mesh) -> list[Identity]:
    """What the sidecars have on disk."""
    found = []
    for place in mesh.plan.meshed:
        identity = load(place.state / "identity.json", f"spiffe://{TRUST_DOMAIN}/ns/default/sa/{place.service.name.name}")
        assert identity is not None
        found.append(identity)
    return found


def signed_by(mesh: Mesh, root: x509.Certificate) -> bool:
    """Whether all sidecars show certificates of a root."""
    for identity in identities(mesh):
        try:
            x509.load_pem_x509_certificates(identity.chain_pem.encode())[0].verify_directly_issued_by(root)
        except (ValueError, InvalidSignature):
            return False
    return True


@pytest.fixture
async def registered(spire: Spire) -> Spire:
    """With the workloads of the town, and its control plane."""
    for name, group in GROUPS.items():
        path = "/picket/controlplane" if name == CONTROL_PLANE else "/ns/{}/sa/{}".format(*name.split("/"))
        more = ("-dns", SERVER_NAME) if name == CONTROL_PLANE else ()
        await spire.register(path, f"unix:supplementary_gid:{group}", *more)
    return spire


@asynccontextmanager
async def town(spire: Spire, directory: Path) -> AsyncIterator[tuple[Mesh, Sequence[tour.Attempt], tour.Attempt]]:
    """It is learned and enforced: the mesh, the calls that it makes, and one that is unlisted."""

    def with_spire(mesh: Mesh) -> None:
        mesh.plane = _Plane(mesh.plane.server)
        mesh.processes = _Processes(mesh.plan, mesh._traces, mesh.processes._certificate, spire.address)

    async with running(TOWN, directory, "explicit", lay_out=with_spire) as mesh:
        made = Tour(mesh.plan, mesh.authority_file)
        await learn(mesh, made.expected())
        await put_into(mesh, "enforce")
        (unlisted,) = [attempt for attempt in made.unexpected() if attempt.use.source.name == "cart"]
        yield mesh, made.expected() * 2, unlisted


@_TOLD_APART
async def test_a_mesh_enforces_by_spires_identities_and_rotates_them_under_traffic(registered: Spire, tmp_path: Path) -> None:
    """Also while the control plane is gone."""
    async with town(registered, tmp_path) as (mesh, expected, unlisted):
        assert all(await answered(mesh, expected))
        assert not any(await answered(mesh, [unlisted]))

        async def reported() -> bool:
            return bool(await mesh.plane.violations())

        await eventually(reported)
        (blocked,) = await mesh.plane.violations()
        assert (blocked.source, blocked.destination, blocked.verdict) == ("default/cart", "default/web", "denied")

        rotations, traffic = Counter[str](), Traffic()
        ends = {name: found.certificate_not_after_ms for name, found in (await sidecars(mesh)).items()}

        async def rotated() -> bool:
            for name, found in (await sidecars(mesh)).items():
                if found.certificate_not_after_ms != ends[name]:
                    ends[name] = found.certificate_not_after_ms
                    rotations[name] += 1
            return len(rotations) == 2 and min(rotations.values()) >= 3

        async with traffic.running(mesh, expected), asyncio.timeout(6 * SVID_SECONDS):
            while not await rotated():  # noqa: ASYNC110  # asked over the API, as users do
                await asyncio.sleep(0.1)
        print(f"{traffic.calls} calls over {dict(rotations)} rotations, {len(traffic.failed)} failed")
        assert not traffic.failed

        mesh.processes.kill(CONTROL_PLANE)
        before = [found.not_after_seconds for found in identities(mesh)]
        async with traffic.running(mesh, expected):
            await until(
                lambda: all(new.not_after_seconds > old for new, old in zip(identities(mesh), before, strict=True)), SVID_SECONDS
            )
        assert not traffic.failed, "without the control plane, too"
        assert not any(await answered(mesh, [unlisted]))


@_TOLD_APART
async def test_spire_changes_its_authority_under_traffic(registered: Spire, tmp_path: Path) -> None:
    """The new root is trusted by all before it signs, and the old one goes when nobody shows its certificates any more."""
    spire = registered
    async with town(spire, tmp_path) as (mesh, expected, unlisted):
        traffic = Traffic()

        async def taken_by_all(act: Callable[[], Awaitable[str]]) -> str:
            """Have SPIRE change its roots, and wait until each Envoy has them."""
            before, since = await mesh.versions(), time.monotonic()
            done = await act()

            async def taken() -> bool:
                return await mesh.versions() != before and await mesh.settled(before, since)

            await eventually(taken)
            return done

        async with traffic.running(mesh, expected):
            traffic.during = "prepare"
            newer = await taken_by_all(spire.prepare_authority)
            older = await spire.active_authority()
            traffic.during = "activate"
            await spire.authority("activate", newer)
            traffic.during = "taint"
            log = mesh.processes.log_file(CONTROL_PLANE)
            had = log.read_text().count("identity from the Workload API")
            await spire.authority("taint", older)
            root = x509.load_pem_x509_certificates((await spire.server("bundle", "show")).encode())[-1]
            await until(
                lambda: signed_by(mesh, root) and log.read_text().count("identity from the Workload API") > had, SVID_SECONDS
            )
            traffic.during = "revoke"
            await taken_by_all(lambda: spire.authority("revoke", older))
            traffic.during = "afterwards"
            count = traffic.calls
            await until(lambda: traffic.calls > count + 100)
        print(f"{traffic.calls} calls, failed during: {Counter(traffic.failed)}")
        assert not traffic.failed
        assert not any(await answered(mesh, [unlisted]))
