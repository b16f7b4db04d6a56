"""A whole control plane in a process of its own: it starts or says why not, loses nothing it acknowledged, and stops as told."""

from __future__ import annotations

import asyncio
import http.client
import json
import os
import re
import signal
import socket
import sys
import urllib.request
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import grpc
import pytest

from controlplane.api.client import Client
from controlplane.identity.authority import load_or_create
from controlplane.identity.directory import AuthorityDirectory
from controlplane.identity.generations import first_generation
from controlplane.plane import ControlPlane, FailedError, StartError
from controlplane.rotating import Rotating
from controlplane.runtime import _check_clock
from controlplane.server.certificates import SERVICE as CERTIFICATES
from controlplane.server.snapshots import SnapshotCache
from controlplane.server.telemetry import SERVICE as TELEMETRY
from controlplane.server.telemetry import SIDECARS_SERVICE as SIDECARS
from controlplane.settings import build_settings
from controlplane.store.sql import open_store
from controlplane.xds import types
from protos.picket.v1.certificates_pb2 import EnrollRequest, Svid
from protos.picket.v1.sidecar_pb2 import AnnounceAck, SidecarInfo
from protos.picket.v1.telemetry_pb2 import ALLOWED, DENIED, INBOUND, Batch, BatchAck, Observation
from tests.harness.adsclient import DeltaClient, claim, connect
from tests.harness.directories import short_directory
from tests.harness.mesh import new_key

TOPOLOGY = b"""
services:
- {name: web, namespace: shop, kind: service, addresses: [10.0.0.1], endpoints: [10.0.0.1], ports: [{port: 80, protocol: http}]}
- {name: cart, namespace: shop, kind: service, addresses: [10.0.0.2], endpoints: [10.0.0.2], ports: [{port: 7070, protocol: grpc}]}
"""
EPOCH = "0123456789abcdef" * 2
READY_SECONDS = 30


@pytest.fixture
def directory() -> Iterator[Path]:
    """A data directory with a topology beside its files, short enough for sockets."""
    with short_directory("run") as made:
        (made / "topology.yaml").write_bytes(TOPOLOGY)
        yield made


@dataclass
class Running:
    """A control plane that is ready."""

    directory: Path
    process: asyncio.subprocess.Process
    listening: list[str]
    log: list[str] = field(default_factory=list)

    def address(self, of: str) -> str:
        """Where one of its listeners is, by the word that it is announced with."""
        return next(line for line in self.listening if line.startswith(of)).partition(" ")[2]

    def api(self) -> Client:
        """A client of its API."""
        return Client(self.address("API"), (self.directory / "api-token").read_text().strip(), "ana")

    def metrics(self) -> str:
        """What Prometheus reads."""
        token = (self.directory / "api-token").read_text().strip()
        request = urllib.request.Request(f"{self.address('API')}/metrics", headers={"Authorization": f"Bearer {token}"})
        with urllib.request.urlopen(request, timeout=20) as answer:
            return str(answer.read().decode())

    async def wait_for(self, words: str) -> str:
        """Read on until a line of the log holds these words."""
        assert self.process.stderr is not None
        async with asyncio.timeout(READY_SECONDS):
            while line := (await self.process.stderr.readline()).decode():
                self.log.append(line)
                if words in line:
                    return line
        raise AssertionError(f"ended without {words!r}:\n{''.join(self.log)}")

    async def ended(self) -> int:
        """The exit code, once it has ended; what it said last is in the log."""
        assert self.process.stderr is not None
        async with asyncio.timeout(READY_SECONDS):
            self.log += (await self.process.stderr.read()).decode().splitlines(keepends=True)
            return await self.process.wait()


async def launched(directory: Path, *arguments: str) -> Running:
    """The process, whatever becomes of it."""
    command = [
        sys.executable, "-m", "controlplane.cli.entry", "controlplane", "--data", str(directory),
        "--topology", str(directory / "topology.yaml"), "--grpc-listen", "127.0.0.1:0", "--enroll-listen", "127.0.0.1:0",
        "--api-listen", "127.0.0.1:0", *arguments,
    ]  # fmt: skip
    environment = {name: value for name, value in os.environ.items() if not name.startswith("PICKET_")}
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, env=environment)
    return Running(directory, process, [])


@asynccontextmanager
async def running(directory: Path, *arguments: str) -> AsyncIterator[Running]:
    """A control plane that is ready, and killed afterwards if it still runs."""
    plane = await launched(directory, *arguments)
    try:
        plane.listening = json.loads(await plane.wait_for('"ready"'))["listening"]
        yield plane
    finally:
        with suppress(ProcessLookupError):
            plane.process.kill()
        await plane.ended()


async def enrolled(plane: Running, workload: str) -> grpc.ChannelCredentials:
    """A sidecar's credentials, by a join token as its owner gets it."""
    join = await asyncio.to_thread(plane.api().post, "/api/v1/tokens", {"workload": workload})
    bundle = str(join["bundle_pem"]).encode()
    key, csr = new_key()
    async with connect(str(join["enrollment"]), grpc.ssl_channel_credentials(bundle)) as channel:
        ask: Any = channel.unary_unary(f"/{CERTIFICATES}/Enroll", response_deserializer=Svid.FromString)
        svid = await ask(EnrollRequest(join_token=str(join["token"]), csr_der=csr).SerializeToString(), timeout=20)
    return grpc.ssl_channel_credentials(bundle, key, svid.certificate_chain_pem)


def batch(sequence: int, peer_address: str = "", verdict: Any = ALLOWED) -> bytes:
    """One use of cart by web."""
    now_ms = int(datetime.now(UTC).timestamp() * 1000)
    seen = Observation(
        direction=INBOUND, verdict=verdict, service="shop/cart", peer_id="spiffe://picket.local/ns/shop/sa/web", port=7070,
        protocol="grpc", method="POST", path="/Cart/Get", count=1, first_seen_ms=now_ms, last_seen_ms=now_ms,
        peer_address=peer_address,
    )  # fmt: skip
    return Batch(epoch=EPOCH, sequence=sequence, instance="cart-0", observations=[seen]).SerializeToString()


def reporting(channel: grpc.aio.Channel) -> Any:
    """A report stream."""
    method: Any = channel.stream_stream(f"/{TELEMETRY}/Report", response_deserializer=BatchAck.FromString)
    return method()


async def test_a_sidecars_life(directory: Path) -> None:
    """Enroll, configure, report, learn; then SIGTERM ends it well, streams first, with every line of its own in JSON."""
    async with running(directory) as plane:
        secured = await enrolled(plane, "shop/cart")
        async with connect(plane.address("gRPC"), secured) as channel:
            client = DeltaClient(channel, "sidecar~shop/cart~cart-0")
            await client.subscribe_to_everything()
            await client.until(lambda: bool(client.names(types.LISTENER)))
            call = reporting(channel)
            for sequence in (1, 2, 3):
                await call.write(batch(sequence))
            while (await call.read()).sequence < 3:
                pass
            metrics = await asyncio.to_thread(plane.metrics)
            assert "picket_sidecars_connected 1.0" in metrics
            assert 'picket_batches_total{outcome="stored"} 3.0' in metrics
            assert 'picket_xds_answers_total{answer="nack",type="LDS"} 0.0' in metrics
            plane.process.send_signal(signal.SIGTERM)
            error = await client.ended()
            assert error is not None
            assert error.code() is grpc.StatusCode.UNAVAILABLE
        assert await plane.ended() == 0
    events = [json.loads(line) for line in plane.log if line.startswith("{")]
    assert {"connected", "disconnected", "certificate issued"} <= {event["event"] for event in events}
    assert "picket-join-" not in "".join(plane.log)
    assert "PRIVATE" not in "".join(plane.log)
    store = open_store(f"sqlite:///{directory}/picket.db")
    try:
        assert [edge.count for edge in store.edges()] == [3]
        (row,) = store.sidecars()
        assert (row.workload, row.instance, row.connected) == ("shop/cart", "cart-0", False)
    finally:
        store.close()


async def test_a_kill_in_the_middle_loses_no_acknowledged_batch(directory: Path) -> None:
    """SIGKILL while batches come in: what was acknowledged is there, and sending the rest again makes all of it count once."""
    async with running(directory) as plane:
        secured = await enrolled(plane, "shop/cart")
        async with connect(plane.address("gRPC"), secured) as channel:
            call = reporting(channel)

            async def send() -> None:
                with suppress(grpc.aio.AioRpcError, asyncio.InvalidStateError):
                    for sequence in range(1, 2_000):
                        await call.write(batch(sequence))

            sending = asyncio.create_task(send())
            last = 0
            with suppress(grpc.aio.AioRpcError):
                while isinstance(ack := await call.read(), BatchAck):
                    last = ack.sequence
                    if last > 50 and plane.process.returncode is None:
                        plane.process.kill()
            await sending
    assert last > 50
    async with running(directory) as again, connect(again.address("gRPC"), secured) as channel:
        call = reporting(channel)
        for sequence in range(last + 1, last + 101):
            await call.write(batch(sequence))
        while (ack := await call.read()).sequence < last + 100:
            pass
        again.process.send_signal(signal.SIGTERM)
        assert await again.ended() == 0
    store = open_store(f"sqlite:///{directory}/picket.db")
    try:
        (edge,) = store.edges()
        assert edge.count == last + 100
        assert store.sidecars()[0].blind_since_ms is None
    finally:
        store.close()


async def test_the_image_that_the_source_says_it_runs_is_shown_with_what_it_used(directory: Path) -> None:
    """The source is known by its identity and the address from which its sidecar announced itself."""
    digest = "sha256:" + "0f" * 32
    async with running(directory) as plane:
        web, cart = await enrolled(plane, "shop/web"), await enrolled(plane, "shop/cart")
        async with connect(plane.address("gRPC"), web) as channel:
            announce: Any = channel.unary_unary(f"/{SIDECARS}/Announce", response_deserializer=AnnounceAck.FromString)
            await announce(SidecarInfo(instance="web-0", image_digest=digest).SerializeToString(), timeout=20)

        async def images() -> list[str]:
            listed = await asyncio.to_thread(plane.api().get, "/api/v1/proposals")
            number = listed["proposals"][0]["number"]
            shown = await asyncio.to_thread(plane.api().get, f"/api/v1/proposals/{number}")
            return [use["digest"] for use in shown["edges"][0]["samples"]["images"]]

        async with connect(plane.address("gRPC"), cart) as channel, asyncio.timeout(READY_SECONDS):
            stream, sequence, found = reporting(channel), 0, list[str]()
            while not found:
                sequence += 1
                await stream.write(batch(sequence, "127.0.0.1"))
                await stream.read()
                found = await images()
                await asyncio.sleep(0.1)  # the control plane looks every few seconds
        assert found == [digest]


async def test_what_is_denied_is_sent_on_also_what_waits_at_the_end(directory: Path) -> None:
    sinks = directory / "sinks.yaml"
    sinks.write_text("sinks: [{name: log, kind: file, to: events.ndjson, verdicts: denied, events: [violation]}]")
    async with running(directory, "--sinks", str(sinks)) as plane:
        secured = await enrolled(plane, "shop/cart")
        async with connect(plane.address("gRPC"), secured) as channel:
            call = reporting(channel)
            await call.write(batch(1))
            await call.write(batch(2, verdict=DENIED))
            while (await call.read()).sequence < 2:
                pass
        plane.process.send_signal(signal.SIGTERM)
        assert await plane.ended() == 0
    (event,) = [json.loads(line) for line in (directory / "events.ndjson").read_text().splitlines()]
    assert (event["source"], event["destination"], event["verdict"]) == ("shop/web", "shop/cart", "denied")


async def test_users_of_an_older_version_come_in_as_before(directory: Path) -> None:
    """Their file is put aside, and they are in the database from then on."""
    file = directory / "api-users.json"
    file.write_text(json.dumps([{"name": "bob", "role": "viewer", "sha256": sha256(b"old").hexdigest(), "created_ms": 1}]))
    file.chmod(0o600)
    for _ in range(2):
        async with running(directory) as plane:
            caller = Client(plane.address("API"), "old")
            assert "edges" in await asyncio.to_thread(caller.get, "/api/v1/map")
        assert not file.exists()


@pytest.mark.parametrize("option", ["--sinks", "--oidc"])
async def test_a_file_of_settings_that_is_wrong_is_one_clear_line(directory: Path, option: str) -> None:
    file = directory / "wrong.yaml"
    file.write_text("sinks: [{name: a, kind: pager, to: x}]")
    plane = await launched(directory, option, str(file))
    assert await plane.ended() == 1
    assert plane.log[-1].startswith(f"picket: {option}: {file}: ")


async def test_a_restart_keeps_what_was_known(directory: Path) -> None:
    """After SIGKILL the certificate is still good, the sidecar's state is there, and it does not count as connected."""
    async with running(directory) as plane:
        secured = await enrolled(plane, "shop/web")
        async with connect(plane.address("gRPC"), secured) as channel:
            client = DeltaClient(channel, "sidecar~shop/web~web-0")
            await client.subscribe_to_everything()

            async def shown() -> dict[str, Any]:
                listed = (await asyncio.to_thread(plane.api().get, "/api/v1/sidecars"))["sidecars"]
                return dict(listed[0]) if listed else {}

            async with asyncio.timeout(READY_SECONDS):
                while not (before := await shown()).get("connected"):  # noqa: ASYNC110  # another process knows
                    await asyncio.sleep(0.05)
        plane.process.kill()
    async with running(directory) as again:
        (row,) = (await asyncio.to_thread(again.api().get, "/api/v1/sidecars"))["sidecars"]
        assert (before["workload"], row["workload"], row["connected"]) == ("shop/web", "shop/web", False)
        async with connect(again.address("gRPC"), secured) as channel:
            client = DeltaClient(channel, "sidecar~shop/web~web-0")
            await client.subscribe(types.CLUSTER)
            await client.until(lambda: client.responses > 0)
            await client.close()


async def test_a_new_control_plane_offers_its_owner_a_link_until_somebody_acted(directory: Path) -> None:
    """The link is in a file for its owner alone; the log, which others read, does not have it."""
    file = directory / "console-link"
    async with running(directory) as plane:
        link = file.read_text().strip()
        assert link.startswith(f"{plane.address('API')}/sign-in/once/")
        assert file.stat().st_mode & 0o077 == 0
        assert link not in "".join(plane.log)
        await asyncio.to_thread(plane.api().post, "/api/v1/tokens", {"workload": "shop/web"})
    async with running(directory):
        assert not file.exists()


def visit(address: str, cookies: str, form: bytes | None = None) -> tuple[int, str, str]:
    """One page, or one form sent: the status, the text, and the cookies of now."""
    connection = http.client.HTTPConnection(address.removeprefix("http://"), timeout=20)
    kind = {} if form is None else {"Content-Type": "application/x-www-form-urlencoded"}
    path = "/" if "picket-session" in cookies else "/sign-in"
    connection.request("GET" if form is None else "POST", path, form, {"Cookie": cookies, **kind})
    answer = connection.getresponse()
    text = answer.read().decode()
    connection.close()
    return answer.status, text, "; ".join(set_.partition(";")[0] for set_ in answer.headers.get_all("Set-Cookie", []))


async def test_the_owner_is_signed_in_over_a_restart_until_the_token_is_another(directory: Path) -> None:
    async with running(directory) as plane:
        _, page, cookies = await asyncio.to_thread(visit, plane.address("API"), "")
        key = re.search('name="form_key" value="([^"]+)"', page)
        assert key is not None
        form = urlencode({"form_key": key[1], "token": (directory / "api-token").read_text().strip()}).encode()
        status, _, cookies = await asyncio.to_thread(visit, plane.address("API"), cookies, form)
        assert status == 303
    async with running(directory) as plane:
        assert (await asyncio.to_thread(visit, plane.address("API"), cookies))[0] == 200
    (directory / "api-token").unlink()
    async with running(directory) as plane:
        assert (await asyncio.to_thread(visit, plane.address("API"), cookies))[0] == 303


async def test_the_api_listens_for_this_user_and_for_browsers_at_once(directory: Path) -> None:
    """The socket asks for no token; the owner's link leads to the port."""
    local = f"unix:{directory}/api.sock"
    async with running(directory, "--api-listen", local) as plane:
        assert (await asyncio.to_thread(Client(local).get, "/api/v1/modes"))["default_mode"] == "learn"
        assert (directory / "console-link").read_text().startswith("http://127.0.0.1:")
        assert (directory / "api-address").read_text().startswith("http://127.0.0.1:")
        plane.process.send_signal(signal.SIGTERM)
        assert await plane.ended() == 0
    assert not (directory / "api.sock").exists()


async def test_plaintext_is_said_aloud(directory: Path) -> None:
    """--insecure says so, believes what peers say, and closes its socket's file to other users."""
    plane = await launched(directory, "--insecure", "--grpc-listen", f"unix:{directory}/mesh.sock")
    try:
        assert "PLAINTEXT" in await plane.wait_for("PLAINTEXT")
        await plane.wait_for('"ready"')
        assert (directory / "mesh.sock").stat().st_mode & 0o777 == 0o600
        async with connect(f"unix:{directory}/mesh.sock") as channel:
            client = DeltaClient(channel, "sidecar~shop/web~0", claim("spiffe://picket.local/ns/shop/sa/web"))
            await client.subscribe(types.CLUSTER)
            await client.until(lambda: client.responses > 0)
            await client.close()
        plane.process.send_signal(signal.SIGINT)
        assert await plane.ended() == 0
        assert not (directory / "mesh.sock").exists()
    finally:
        with suppress(ProcessLookupError):
            plane.process.kill()
        await plane.process.wait()


@pytest.mark.parametrize("option", ["--grpc-listen", "--enroll-listen", "--api-listen"])
async def test_a_port_in_use_is_one_clear_line(directory: Path, option: str) -> None:
    """Each listener's address is named, and nothing half-started is left."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        plane = await launched(directory, option, address)
        assert await plane.ended() == 1
    said = [line for line in plane.log if line.startswith("picket:")]
    assert len(said) == 1, plane.log
    assert address in said[0]
    assert "Traceback" not in "".join(plane.log)


async def test_a_data_directory_that_cannot_be_used_is_told(directory: Path) -> None:
    """A file where the directory should be."""
    blocked = directory / "file"
    blocked.write_text("")
    plane = await launched(directory, "--data", str(blocked / "data"))
    assert await plane.ended() == 1
    assert re.fullmatch(r"picket: \S+/file/data: .*--data\n", "".join(plane.log)), plane.log


async def test_being_told_twice_is_being_told(directory: Path) -> None:
    """A supervisor that repeats itself does not cut the stop short."""
    async with running(directory) as plane:
        plane.process.send_signal(signal.SIGTERM)
        plane.process.send_signal(signal.SIGTERM)
        assert await plane.ended() == 0


async def test_a_part_that_fails_ends_the_whole(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A control plane that could not push any more does not go on as if it could: it stops, and says which part it was."""

    async def broken(_: SnapshotCache) -> None:
        raise LookupError("a mistake of ours")

    monkeypatch.setattr(SnapshotCache, "run", broken)
    settings = build_settings(
        data=directory, topology=directory / "topology.yaml", grpc_listen=["127.0.0.1:0"], enroll_listen=["127.0.0.1:0"],
        api_listen=[f"unix:{directory}/api.sock"],
    )  # fmt: skip
    store = open_store(settings.database_url)
    try:
        custody = AuthorityDirectory(directory / "ca", "picket.local")
        plane = ControlPlane(settings, store, Rotating(settings, store, custody, await custody.load()))
        with pytest.raises(FailedError, match=r"snapshots.*a mistake of ours"):
            await asyncio.wait_for(plane.run(asyncio.Event(), lambda _: None), READY_SECONDS)
    finally:
        store.close()
    assert not (directory / "api.sock").exists()


def test_a_clock_far_off_is_told(tmp_path: Path) -> None:
    """Certificates of another time would be refused by everybody, without a word why."""
    generations = first_generation(load_or_create(tmp_path / "ca", "picket.test"))
    now = datetime.now(UTC)
    _check_clock(generations, now)
    for wrong in (now - timedelta(days=400), now + timedelta(days=4_000)):
        with pytest.raises(StartError, match="clock"):
            _check_clock(generations, wrong)
