"""A pod's sidecar without any privilege: it relies on `picket-sidecar init`, is asked by the kubelet, and fails closed without."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import subprocess
import sys
from collections.abc import AsyncIterator, Iterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

import pytest

from controlplane.kubernetes.attestation import TokenReviews
from controlplane.kubernetes.client import Client
from controlplane.policy.rules import Mode
from controlplane.server.certificates import Attestor
from controlplane.store.sql import SqlStore
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from sidecar.ports import HEALTH_PORT, METRICS_PORT, PROBE_PORT
from sidecar.settings import PROXY_ID
from tests.controlplane.kubernetes.test_attestation import found, known, token
from tests.harness.directories import short_directory
from tests.harness.kubeapi import running_api
from tests.harness.mesh import TRUST_DOMAIN, Mesh, running_mesh
from tests.harness.namespaces import Namespace, as_user, missing, two_namespaces
from tests.sidecar.agents import PORT, Sidecar, application, running_sidecar, write_join
from tests.sidecar.uplinks import opened_store
from tests.sidecar.waiting import until

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(missing()), reason=missing() or "can run")]
HOOK = f"/app-lifecycle/cart/prestop/{'0a' * 16}"
PROBES = {
    HOOK: {"httpGet": {"port": PORT, "path": "/stop"}, "timeoutSeconds": 60},
    "/app-health/cart/readyz": {"httpGet": {"port": PORT, "path": "/ok"}, "timeoutSeconds": 5},
    "/app-health/cart/livez": {"tcpSocket": {"port": PORT + 1}, "timeoutSeconds": 5},
}


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        made.chmod(0o755)
        yield made


@pytest.fixture
def store(directory: Path) -> Iterator[SqlStore]:
    with opened_store(directory) as opened:
        yield opened


@dataclass(frozen=True)
class Place:
    """A pod's namespace and a neighbour's, and the control plane."""

    directory: Path
    pod: Namespace
    neighbour: Namespace
    mesh: Mesh

    def line(self, *arguments: str, user: int = PROXY_ID) -> list[str]:
        """Our Python in the pod, as a user without any right."""
        return ["ip", "netns", "exec", self.pod.name, *as_user(user), *arguments]

    def sidecar(self, *options: str) -> list[str]:
        """The sidecar as a pod's container has it."""
        return self.line(
            sys.executable, "-m", "sidecar.main", "--join", str(self.directory / "join.json"), "--redirect-by", "init",
            "--state", str(self.directory / "run" / "state"), "--instance", "cart-1", "--report-interval-seconds", "0.2",
            "--app-probes", json.dumps(PROBES), *options,
        )  # fmt: skip

    async def ask(self, port: int, path: str) -> tuple[int, str]:
        """A neighbour's request: status and body, or 0 and the error's name."""

        def connect() -> tuple[int, str]:
            connection = http.client.HTTPConnection(self.pod.ipv4, port, timeout=10)
            try:
                connection.request("GET", path)
                response = connection.getresponse()
                return response.status, response.read().decode()
            except (OSError, http.client.HTTPException) as error:
                return 0, type(error).__name__
            finally:
                connection.close()

        return await asyncio.to_thread(self.neighbour.run, connect)

    async def answers(self, port: int, path: str, status: int) -> None:
        """Wait until a request is answered so."""
        async with asyncio.timeout(30):
            while (await self.ask(port, path))[0] != status:
                pass


@asynccontextmanager
async def placed(directory: Path, store: SqlStore, mode: Mode, attestor: Attestor | None = None) -> AsyncIterator[Place]:
    with two_namespaces() as (pod, neighbour):
        cart = Service(ServiceName("shop", "cart"), Kind.SERVICE, (Port(PORT, "http", PORT),), (pod.ipv4,), (pod.ipv4,))
        async with running_mesh(directory, store, topology=Topology.of((cart,)), default_mode=mode, attestor=attestor) as mesh:
            place = Place(directory, pod, neighbour, mesh)
            join = write_join(directory, mesh, enrollment=f"unix:{directory}/enroll.sock")
            for path in (join, directory / "mesh.sock"):
                os.chown(path, PROXY_ID, PROXY_ID)
            (directory / "run").mkdir()
            (directory / "run").chmod(0o777)  # as an emptyDir
            async with forwarded(directory / "enroll.sock", mesh.enrollment):
                yield place


@asynccontextmanager
async def forwarded(path: Path, target: str) -> AsyncIterator[None]:
    """A socket that leads to an address of the machine, which cannot be reached from a namespace."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", FORWARD, str(path), target, stdout=subprocess.PIPE
    )  # fmt: skip
    assert process.stdout is not None
    assert await process.stdout.readline() == b"ready\n"
    try:
        yield
    finally:
        process.kill()
        await process.wait()


FORWARD = """
import asyncio, os, sys

async def copy(reader, writer):
    while part := await reader.read(65536):
        writer.write(part)
    writer.close()

async def joined(reader, writer):
    host, _, port = sys.argv[2].rpartition(":")
    inner, outer = await asyncio.open_connection(host, int(port))
    await asyncio.gather(copy(reader, outer), copy(inner, writer), return_exceptions=True)

async def main():
    server = await asyncio.start_unix_server(joined, sys.argv[1])
    os.chmod(sys.argv[1], 0o666)
    print("ready", flush=True)
    await server.serve_forever()

asyncio.run(main())
"""


def init(place: Place, *options: str) -> None:
    line = ["ip", "netns", "exec", place.pod.name, sys.executable, "-m", "sidecar.main", "init", *options]
    subprocess.run(line, check=True, timeout=60)


@asynccontextmanager
async def running_pod(place: Place, *options: str, app: Sequence[str] = ()) -> AsyncIterator[Sidecar]:
    """The application and its sidecar, as containers of one pod."""
    line = place.line(*(app or application("0.0.0.0", PORT)), user=65534)
    process = await asyncio.create_subprocess_exec(*line, stdout=subprocess.DEVNULL)
    try:
        async with running_sidecar(place.directory, place.sidecar(*options)) as sidecar:
            yield sidecar
    finally:
        process.kill()
        await process.wait()


async def test_the_kubelets_probes_pass_where_everything_else_is_denied(directory: Path, store: SqlStore) -> None:
    async with placed(directory, store, Mode.ENFORCE) as place:
        init(place)
        async with running_pod(place) as sidecar:
            await sidecar.says("ready")
            await place.answers(HEALTH_PORT, "/healthz/ready", 200)
            assert (await place.ask(PORT, "/ok"))[0] == 0  # the kubelet's own call: no identity, so denied
            await place.answers(PROBE_PORT, "/app-health/cart/readyz", 200)
            assert (await place.ask(PROBE_PORT, "/app-health/cart/livez"))[0] == 503  # nobody listens on that port
            for path in ("/app-health/cart/startupz", "/app-health/other/readyz", "/ok", "/app-health/cart/readyz/../x"):
                assert (await place.ask(PROBE_PORT, path))[0] == 404
            status, metrics = await place.ask(METRICS_PORT, "/stats/prometheus")
            assert status == 200
            assert "\npicket_sidecar_control_plane_connected 1\n" in metrics
            assert "\nenvoy_server_live" in metrics
            for path in ("/config_dump", "/", "/quitquitquit", "/stats", "/stats/prometheus/../../config_dump"):
                assert (await place.ask(METRICS_PORT, path))[0] == 404
            await until(lambda: bool(place.mesh.heard.violations))
            assert await sidecar.end() == 0
        assert "the redirect stays" not in sidecar.log
        assert (await place.ask(PORT, "/ok"))[0] == 0  # the rules stay, and lead nowhere


#: Says by a file that it was asked to stop, and takes a second for it.
SLOW = """
import http.server, pathlib, sys, time

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        pathlib.Path(sys.argv[2]).touch()
        time.sleep(1)
        self.send_response(200)
        self.send_header("Content-Length", "0")
        self.end_headers()

http.server.ThreadingHTTPServer(("0.0.0.0", int(sys.argv[1])), Handler).serve_forever()
"""


async def test_a_hook_is_made_under_default_deny_also_while_the_sidecar_drains(directory: Path, store: SqlStore) -> None:
    async with placed(directory, store, Mode.ENFORCE) as place:
        init(place)
        asked = directory / "run" / "asked"
        async with running_pod(place, app=[sys.executable, "-c", SLOW, str(PORT), str(asked)]) as sidecar:
            await sidecar.says("ready")
            await place.answers(HEALTH_PORT, "/healthz/ready", 200)
            assert (await place.ask(PORT, "/stop"))[0] == 0
            assert (await place.ask(PROBE_PORT, HOOK[:-1] + "b"))[0] == 0
            assert not asked.exists()
            hook = asyncio.create_task(place.ask(PROBE_PORT, HOOK))
            await until(asked.exists)
            assert await sidecar.end() == 0
            assert await hook == (200, "the application answered 200\n")


async def test_a_pod_joins_by_its_token_alone(directory: Path, store: SqlStore) -> None:
    """What the webhook gives it: a projected token, the mesh's roots, and where the control plane is."""
    with running_api() as api:
        good = token(expires=datetime.now(UTC).timestamp() + 600)
        api.tokens[good] = known()
        reviews = TokenReviews(client := Client(api.config()), "picket", {"shop/cart-7c9": found()}.get)
        async with client, placed(directory, store, Mode.LEARN, reviews) as place:
            init(place)
            (directory / "token").write_text(good)
            (directory / "bundle.pem").write_bytes(place.mesh.authority.bundle_pem)
            options = {
                "--token-file": "token", "--bundle-file": "bundle.pem", "--control-plane": "mesh.sock",
                "--enrollment": "enroll.sock", "--state": "run/state",
            }  # fmt: skip
            sockets = {"--control-plane", "--enrollment"}
            given = [part for option, name in options.items()
                     for part in (option, f"{'unix:' if option in sockets else ''}{directory}/{name}")]  # fmt: skip
            line = place.line(
                sys.executable, "-m", "sidecar.main", *given, "--workload", "shop/cart", "--trust-domain", TRUST_DOMAIN,
                "--redirect-by", "init", "--instance", "cart-7c9",
            )  # fmt: skip
            async with running_sidecar(directory, line) as sidecar:
                await place.answers(HEALTH_PORT, "/healthz/ready", 200)
                assert "certificate issued how=enroll id=spiffe://picket.test/ns/shop/sa/cart" in sidecar.log
                assert good not in sidecar.log
                assert await sidecar.end() == 0
        assert [review["token"] for review in api.reviews] == [good]


async def test_without_the_redirect_it_does_not_start(directory: Path, store: SqlStore) -> None:
    async with placed(directory, store, Mode.LEARN) as place, running_pod(place) as sidecar:
        async with asyncio.timeout(60):
            assert await sidecar.process.wait() == 1
        assert "the redirect is not in this network namespace" in sidecar.log
        assert "envoy started" not in sidecar.log


async def test_drain_makes_it_unready_and_waits_for_what_is_under_way(directory: Path, store: SqlStore) -> None:
    async with placed(directory, store, Mode.LEARN) as place:
        init(place)
        async with running_pod(place) as sidecar:
            await place.answers(HEALTH_PORT, "/healthz/ready", 200)
            await place.answers(PORT, "/", 200)
            slow = asyncio.create_task(place.ask(PORT, "/slow/2"))
            active = 'downstream_rq_active{envoy_http_conn_manager_prefix="http"} 1'
            async with asyncio.timeout(30):
                while active not in (await place.ask(METRICS_PORT, "/stats/prometheus"))[1]:
                    pass
            line = place.line(
                sys.executable, "-m", "sidecar.main", "drain", "--state", str(directory / "run" / "state"), "--drain-seconds", "60"
            )
            drain = await asyncio.create_subprocess_exec(*line)
            await place.answers(HEALTH_PORT, "/healthz/ready", 503)
            assert "draining" in (await place.ask(HEALTH_PORT, "/healthz/ready"))[1]
            async with asyncio.timeout(60):
                assert await drain.wait() == 0
            assert (await slow)[0] == 200
            assert await sidecar.end() == 0
            told = await asyncio.create_subprocess_exec(*line, stderr=subprocess.PIPE)
            _, said = await told.communicate()
            assert (told.returncode, b"no sidecar's Envoy answers" in said) == (1, True)
