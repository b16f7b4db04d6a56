"""A mesh whose certificate authority is replaced under traffic: no call fails, no connection ends, no Envoy starts anew."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from http import HTTPStatus
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.api.client import ApiError, Client
from controlplane.demo import tour
from controlplane.demo.driver import Markers
from controlplane.demo.mesh import Mesh
from controlplane.demo.plan import Placed
from controlplane.demo.processes import CONTROL_PLANE
from controlplane.demo.services.messages import Result
from controlplane.demo.services.tunnel import MESH_ALPN
from controlplane.demo.tour import Tour
from controlplane.identity.authority import CertificateAuthority, Svid, private_pem
from controlplane.identity.spiffe import WorkloadId
from sidecar.keeper import SPREAD_SECONDS
from tests.e2e import meshes
from tests.e2e.connections import connected
from tests.e2e.meshes import NO_NAMESPACES, TOWN, eventually, learn, named, put_into, running
from tests.harness.authorities import older_authority

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(NO_NAMESPACES), reason=f"no network namespaces here: {NO_NAMESPACES}")]
PONG = b"+PONG\r\n"


class Calls:
    """Every declared call of services that are up, again and again, each on a connection of its own."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._tour = Tour(mesh.plan, mesh.authority_file)
        self.away: set[str] = set()
        self.rounds = 0
        self.made = 0

    async def round(self) -> None:
        """Each call once. All are answered."""
        attempts = [attempt for attempt in self._tour.expected() if attempt.use.destination.name not in self.away]
        made = await tour.make(attempts, self._mesh.applications)
        assert [f"{attempt}: {outcome}" for attempt, outcome in made if outcome.result is not Result.ANSWERED] == []
        self.rounds += 1
        self.made += len(made)

    async def rounds_more(self, number: int) -> None:
        """Wait while that many go by that have not begun yet."""
        last = self.rounds + number + 1

        async def over() -> bool:
            return self.rounds >= last

        await eventually(over)

    @asynccontextmanager
    async def flowing(self) -> AsyncIterator[None]:
        """Without a pause, while the context is open; a call that is not answered fails the context."""
        enough = False

        async def go_on() -> None:
            while not enough:
                await self.round()

        async with asyncio.TaskGroup() as group:
            group.create_task(go_on())
            yield
            enough = True


class Rotation:
    """What an administrator does and sees of it."""

    def __init__(self, mesh: Mesh) -> None:
        self._client = Client(mesh.plane.server)

    async def told(self) -> list[str]:
        """The steps in the audit log, in order."""
        found: Any = await asyncio.to_thread(self._client.get, "/api/v1/audit?limit=1000")
        return [event["action"] for event in reversed(found["events"]) if event["action"].startswith("authority:")]

    async def take(self, step: str) -> Any:
        """Take a step as soon as nothing speaks against it any more: never by force."""
        taken: list[Any] = []

        async def allowed() -> bool:
            try:
                taken.append(await asyncio.to_thread(self._client.post, "/api/v1/authority/rotate", {"step": step}))
            except ApiError as error:
                if error.status != HTTPStatus.CONFLICT:
                    raise
                return False
            return True

        await eventually(allowed, SPREAD_SECONDS)
        return taken[0]


def root_count(place: Placed) -> int:
    """How many roots came with a sidecar's certificate."""
    return (place.state / "identity.json").read_text().split('"bundle_pem"')[1].count("BEGIN CERTIFICATE")


def envoys(mesh: Mesh, without: str) -> dict[int, str]:
    """When each Envoy of the mesh started, by process; but for one service's."""
    found = {}
    for name, process in mesh.processes._running.items():
        waiting = [] if name in {CONTROL_PLANE, f"default/{without}"} else [process.pid]
        while waiting:
            pid = waiting.pop()
            for task in Path(f"/proc/{pid}/task").iterdir():
                waiting += map(int, (task / "children").read_text().split())
            if b"envoy" in Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")[0]:
                found[pid] = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]
    return found


def outsider(authority: CertificateAuthority, workload: str, directory: Path) -> ssl.SSLContext:
    """Somebody who signs as the old authority for a workload, and takes whatever server there is."""
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    svid = authority.sign(csr.public_bytes(Encoding.DER), WorkloadId("default", workload), timedelta(hours=2), datetime.now(UTC))
    assert isinstance(svid, Svid)
    file = directory / "outsider.pem"
    file.write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()) + svid.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    context.load_cert_chain(file)
    context.set_alpn_protocols([MESH_ALPN])
    return context


async def greeting(place: Placed, dialled: tuple[str, int], context: ssl.SSLContext) -> bytes:
    """What the outsider hears of a server that speaks first."""
    try:
        async with connected(place, dialled, context) as connection:
            return await connection.heard()
    except OSError:
        return b""


async def test_the_authority_is_replaced_under_traffic_and_nobody_notices(tmp_path: Path) -> None:
    """From an older version's root, with a control plane that is killed on the way and a sidecar that sleeps through a step."""
    older = older_authority("picket.local")

    def lay_out(mesh: Mesh) -> None:
        directory = mesh.processes.data / "ca"
        directory.mkdir(mode=0o700, parents=True)
        (directory / "ca.pem").write_bytes(older.bundle_pem)
        (directory / "ca.key").write_bytes(private_pem(older.key))

    async with running(TOWN, tmp_path, lay_out=lay_out) as mesh:
        await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
        await put_into(mesh, "enforce")
        calls, rotation, markers = Calls(mesh), Rotation(mesh), Markers()
        web, db = named(mesh, "web"), named(mesh, "db")
        to_cart, _, to_redis, _ = (mesh.plan.dialled(use) for use in mesh.plan.expected())
        at_db = mesh.plan.endpoint(next(use for use in mesh.plan.expected() if use.destination.name == "db"))
        thief = outsider(older, "web", tmp_path)
        assert b"8.4.0-demo" in await greeting(mesh.plan.intruders[0], at_db, thief)
        await meshes.kill_sidecar(mesh, db)
        calls.away = {"db"}
        before = envoys(mesh, "db")
        assert len(before) == len(mesh.plan.meshed) - 1

        async with connected(web, to_redis) as redis, connected(web, to_cart) as http, calls.flowing():
            assert await redis.ping() == PONG
            assert await http.get("cart", markers.next()) == 200
            begun = await rotation.take("prepare")
            assert [root["state"] for root in begun["roots"]] == ["active", "prepared"]
            mesh.processes.kill(CONTROL_PLANE)
            await calls.rounds_more(1)
            await meshes.start_control_plane(mesh)

            active = await rotation.take("activate")
            assert active["roots"][0]["id"] == begun["roots"][1]["id"]
            application = meshes.start_sidecar(mesh, db)
            await application.connect()
            calls.away = set()
            await calls.rounds_more(2)

            done = await rotation.take("retire")  # once all, the one that slept too, have certificates of the new authority
            assert [root["id"] for root in done["roots"]] == [begun["roots"][1]["id"]]

            async def forgotten() -> bool:
                return all(root_count(place) == 1 for place in mesh.plan.meshed)

            await eventually(forgotten, SPREAD_SECONDS)
            await calls.rounds_more(2)
            assert await redis.ping() == PONG
            assert await http.get("cart", markers.next()) == 200
            assert await greeting(mesh.plan.intruders[0], at_db, thief) == b""

        assert envoys(mesh, "db") == before
        assert calls.made > 20
        assert await rotation.told() == ["authority:prepare", "authority:activate", "authority:retire"]
        mesh.check()
