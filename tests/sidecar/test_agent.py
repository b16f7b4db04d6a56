"""The whole sidecar with a real Envoy: how it joins, serves, survives, drains, and what each kind of end leaves behind."""

from __future__ import annotations

import asyncio
import http.client
import os
import signal
import socket
import ssl
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.identity.authority import Svid
from controlplane.policy.rules import Mode
from controlplane.store.sql import SqlStore
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from sidecar.identity import save
from tests.harness.directories import short_directory
from tests.harness.mesh import WEB, Mesh, new_key, running_mesh
from tests.harness.namespaces import missing, two_namespaces
from tests.sidecar.agents import EXPLICIT, PORT, SIDECAR, application, command, get, running_sidecar, write_join
from tests.sidecar.uplinks import identity_of, opened_store
from tests.sidecar.waiting import until

pytestmark = pytest.mark.e2e


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made


@pytest.fixture
def store(directory: Path) -> Iterator[SqlStore]:
    with opened_store(directory) as opened:
        yield opened


@pytest.fixture
async def mesh(directory: Path, store: SqlStore) -> AsyncIterator[Mesh]:
    """A control plane in learn mode that knows shop/cart behind explicit listeners."""
    async with running_mesh(directory, store, topology=EXPLICIT) as running:
        yield running


def lost(mesh: Mesh) -> int:
    return sum(report.lost for report, _ in mesh.heard.stored)


def stored(mesh: Mesh) -> int:
    return sum(flow.count for report, _ in mesh.heard.stored for flow in report.flows)


async def test_it_joins_serves_reports_and_ends_with_the_applications_code(directory: Path, mesh: Mesh) -> None:
    digest = "sha256:" + "0f" * 32
    line = command(directory, write_join(directory, mesh), ["--image-digest", f"example.org/cart:1@{digest}"], application())
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        assert (await get())[0] == 200
        assert (await get())[0] == 200
        await until(lambda: mesh.heard.announced[-1][1].image_digest == digest)
        await until(lambda: stored(mesh) == 2)
        await until(lambda: mesh.heard.announced[-1][1].envoy_version.startswith("1."))
        assert await sidecar.end() == 7
        assert "told to end" in sidecar.log
    state = directory / "state"
    assert {path.name for path in state.iterdir()} == {"agent.lock", "envoy", "envoy.log", "identity.json", "last-good", "spool"}
    assert not list((state / "envoy").glob("*.sock"))


async def test_the_keys_are_out_of_the_applications_reach(directory: Path, mesh: Mesh) -> None:
    if os.geteuid() != 0:
        pytest.skip("only root can start the application as somebody else")
    tries = f"for f in {directory}/state/identity.json {directory}/state/envoy/agent.sock; do cat $f || echo out of reach; done"
    line = command(directory, write_join(directory, mesh), [], ["/bin/sh", "-c", tries])
    await asyncio.to_thread(directory.chmod, 0o755)
    async with running_sidecar(directory, line) as sidecar:
        async with asyncio.timeout(30):
            await sidecar.process.wait()
        assert sidecar.log.count("out of reach") == 2
        assert "PRIVATE KEY" not in sidecar.log


async def test_when_the_application_ends_so_does_the_sidecar_with_its_code(directory: Path, mesh: Mesh) -> None:
    line = command(directory, write_join(directory, mesh), [], ["/bin/sh", "-c", "exit 3"])
    async with running_sidecar(directory, line) as sidecar:
        async with asyncio.timeout(30):
            assert await sidecar.process.wait() == 3


@pytest.mark.parametrize(("mode", "status"), [(Mode.LEARN, 200), (Mode.ENFORCE, 0)])
async def test_with_the_control_plane_gone_a_restart_comes_up_as_it_was_from_disk(
    directory: Path, store: SqlStore, mode: Mode, status: int
) -> None:
    async with running_mesh(directory, store, topology=EXPLICIT, default_mode=mode) as mesh:
        line = command(directory, write_join(directory, mesh), [], application())
        async with running_sidecar(directory, line) as sidecar:
            await sidecar.says("listening")
            assert (await get())[0] == status
            assert (directory / "state" / "last-good").exists()
            assert await sidecar.end(signal.SIGKILL) == -signal.SIGKILL
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        assert "identity=disk configuration=disk" in sidecar.log
        assert (await get())[0] == status
        assert await sidecar.end() == 7
        assert "reports wait in the spool" in sidecar.log


async def test_what_was_seen_while_the_control_plane_was_gone_is_reported_when_it_returns(directory: Path, store: SqlStore) -> None:
    async with running_mesh(directory, store, topology=EXPLICIT) as mesh:
        line = command(directory, write_join(directory, mesh), [], application())
        async with running_sidecar(directory, line) as sidecar:
            await sidecar.says("listening")
            await sidecar.end(signal.SIGKILL)
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        for _ in range(3):
            assert (await get())[0] == 200
        async with running_mesh(directory, store, topology=EXPLICIT) as mesh:
            await until(lambda: stored(mesh) == 3)
            await sidecar.end()


async def test_with_nothing_on_disk_and_nobody_to_ask_it_stays_closed(directory: Path, store: SqlStore) -> None:
    async with running_mesh(directory, store, topology=EXPLICIT) as mesh:
        join = write_join(directory, mesh)
    async with running_sidecar(directory, command(directory, join, ["--app-start-wait", "1"], application())) as sidecar:
        await sidecar.says("listening")  # the application starts after the wait, and nobody comes to it
        assert "what the application sends is refused" in sidecar.log
        assert await get() == (0, "ConnectionRefusedError")
        assert await sidecar.end() == 7


async def test_a_refused_token_is_one_line_and_exit_code_1(directory: Path, mesh: Mesh) -> None:
    line = command(directory, write_join(directory, mesh, token="unknown"), [], application())
    async with running_sidecar(directory, line) as sidecar:
        async with asyncio.timeout(30):
            assert await sidecar.process.wait() == 1
        assert "Traceback" not in sidecar.log, sidecar.log
        last = sidecar.log.splitlines()[-1]
        assert last.startswith("picket-sidecar: ")
        assert "make one with `picket token`" in last


async def test_a_second_sidecar_on_the_same_state_is_refused(directory: Path, mesh: Mesh) -> None:
    line = command(directory, write_join(directory, mesh), [], application())
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        (directory / "second").mkdir()
        async with running_sidecar(directory / "second", line) as second:
            async with asyncio.timeout(30):
                assert await second.process.wait() == 1
            assert f"in use by another sidecar (process {sidecar.process.pid})" in second.log
        assert (await get())[0] == 200


async def test_requests_that_are_under_way_finish_when_it_is_told_to_end(directory: Path, mesh: Mesh) -> None:
    """The application would end at once and drop them; it is told only when they are done."""
    async with running_sidecar(directory, command(directory, write_join(directory, mesh), [], application())) as sidecar:
        await sidecar.says("listening")
        under_way = asyncio.create_task(get("/slow/1"))
        await sidecar.says("slow")
        assert await sidecar.end() == 7
        assert (await under_way)[0] == 200
    assert stored(mesh) == 1, sidecar.log  # and is reported


async def test_an_application_that_does_not_end_is_killed(directory: Path, mesh: Mesh) -> None:
    deaf = ["/bin/sh", "-c", "trap 'echo deaf' TERM; echo listening; while :; do sleep 60 & wait; done"]
    async with running_sidecar(
        directory, command(directory, write_join(directory, mesh), ["--drain-seconds", "0.5"], deaf)
    ) as sidecar:
        await sidecar.says("listening")
        assert await sidecar.end() == 128 + signal.SIGKILL
        assert "deaf" in sidecar.log


async def test_killing_the_agent_leaves_neither_envoy_nor_application_behind(directory: Path, mesh: Mesh) -> None:
    line = command(directory, write_join(directory, mesh), [], application())
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        assert await sidecar.end(signal.SIGKILL) == -signal.SIGKILL  # waits for both to be gone
        assert await get() == (0, "ConnectionRefusedError")
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        assert (await get())[0] == 200


async def test_an_envoy_that_crashes_is_started_again_and_the_application_goes_on(directory: Path, mesh: Mesh) -> None:
    async with running_sidecar(directory, command(directory, write_join(directory, mesh), [], application())) as sidecar:
        await sidecar.says("listening")
        before = await get()
        os.kill(sidecar.pid_of("envoy"), signal.SIGKILL)
        await sidecar.says("traffic is refused until it is back")
        await sidecar.says("envoy started", times=2)
        await sidecar.says("envoy connected", times=2)

        async def back() -> None:
            while await get() != before:  # noqa: ASYNC110  # the same process answers
                await asyncio.sleep(0.05)

        async with asyncio.timeout(30):
            await back()


@pytest.mark.parametrize("killed", ["agent", "envoy"])
async def test_what_envoy_had_not_written_when_it_was_killed_is_told_as_lost(directory: Path, mesh: Mesh, killed: str) -> None:
    """It writes several times a second, and an agent that is killed takes it along. Who ends as told has lost nothing."""
    line = command(directory, write_join(directory, mesh), ["--report-interval-seconds", "0.2"], application())
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        await get()
        if killed == "agent":
            await sidecar.end(signal.SIGKILL)
        else:
            os.kill(sidecar.pid_of("envoy"), signal.SIGKILL)
            await sidecar.says("envoy started", times=2)
            await until(lambda: lost(mesh) == 1)
            await sidecar.end()
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        await until(lambda: lost(mesh) == 1)
        await sidecar.end()
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        await get()
        await until(lambda: stored(mesh) > 0)
    assert lost(mesh) == 1


async def test_a_certificate_is_renewed_under_an_open_connection(directory: Path, mesh: Mesh) -> None:
    now = int(datetime.now(UTC).timestamp())
    (directory / "state").mkdir(mode=0o700)
    identity = replace(identity_of(mesh.authority, timedelta(seconds=8)), not_before_seconds=now)
    await asyncio.to_thread(save, directory / "state" / "identity.json", identity)
    line = command(directory, write_join(directory, mesh, token=""), [], application())
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says("listening")
        peer = await asyncio.to_thread(Peer, mesh)
        answer = await asyncio.to_thread(peer.get)
        await sidecar.says("certificate issued how=renew")
        await until(lambda: Peer(mesh).certificate != peer.certificate)
        assert await asyncio.to_thread(peer.get) == answer  # the same connection, after the renewal
        await asyncio.sleep(max(0.0, identity.not_after_seconds + 1 - datetime.now(UTC).timestamp()))
        assert await asyncio.to_thread(peer.get) == answer  # and after its first certificate's end
        peer.close()


class Peer:
    """A TLS connection of shop/web to the sidecar, kept open."""

    def __init__(self, mesh: Mesh) -> None:
        key, csr = new_key()
        svid = mesh.authority.sign(csr, WEB, timedelta(hours=1), datetime.now(UTC))
        assert isinstance(svid, Svid)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.load_verify_locations(cadata=mesh.authority.bundle_pem.decode())
        context.set_alpn_protocols(["picket"])
        with tempfile.NamedTemporaryFile() as file:
            file.write(key + svid.chain_pem)
            file.flush()
            context.load_cert_chain(file.name)
        self._connection = context.wrap_socket(socket.create_connection((SIDECAR, PORT), timeout=10))
        self.certificate = self._connection.getpeercert(binary_form=True)

    def get(self) -> bytes:
        """One request on it: the body."""
        self._connection.sendall(b"GET / HTTP/1.1\r\nHost: cart\r\n\r\n")
        response = http.client.HTTPResponse(self._connection)
        response.begin()
        assert response.status == 200
        return response.read()

    def close(self) -> None:
        self._connection.close()

    def __del__(self) -> None:
        self.close()


@pytest.mark.skipif(bool(missing()), reason=missing() or "can run")
async def test_with_redirect_nothing_goes_around_it_while_it_runs_or_after_it_was_killed(directory: Path, store: SqlStore) -> None:
    with two_namespaces() as (here, there):
        cart = Service(ServiceName("shop", "cart"), Kind.SERVICE, (Port(PORT, "http", PORT),), (here.ipv4,), (here.ipv4,))
        async with running_mesh(directory, store, topology=Topology.of((cart,))) as mesh:
            # Only the control plane's socket can be reached from there, so the certificate is there already.
            (directory / "state").mkdir(mode=0o700)
            await asyncio.to_thread(save, directory / "state" / "identity.json", identity_of(mesh.authority))
            join = write_join(directory, mesh, token="")
            inside = command(directory, join, ["--capture", "redirect"], application("0.0.0.0", PORT))
            line = ["ip", "netns", "exec", here.name, *inside]

            def connect() -> str:
                try:
                    with socket.create_connection((here.ipv4, PORT), timeout=5) as connection:
                        connection.sendall(b"GET / HTTP/1.1\r\nHost: cart\r\n\r\n")
                        return connection.recv(200).decode()
                except OSError as error:
                    return type(error).__name__

            def dial() -> str:
                return there.run(connect)

            async with running_sidecar(directory, line) as sidecar:
                await sidecar.says("listening")
                assert "200 OK" in await asyncio.to_thread(dial)
                await until(lambda: stored(mesh) >= 1)
                await sidecar.end(signal.SIGKILL)
            assert "table inet picket" in here.command("nft", "list", "ruleset")
            assert await asyncio.to_thread(dial) == "ConnectionRefusedError"
            async with running_sidecar(directory, line) as sidecar:
                await sidecar.says("listening")
                assert "200 OK" in await asyncio.to_thread(dial)
                assert await sidecar.end() == 7
            assert here.command("nft", "list", "ruleset") == ""
