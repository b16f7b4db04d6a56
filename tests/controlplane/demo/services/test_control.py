"""One application as a process: it takes orders from who may give them, makes calls, and says what arrived."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.demo.certificate import make_certificate
from controlplane.demo.driver import Application, DriverError, Markers, together
from controlplane.demo.services.messages import Call, Received, Result, Served, Spec
from controlplane.identity.authority import Svid, load_or_create
from controlplane.identity.spiffe import WorkloadId

NOBODY = 65534


@pytest.fixture
def directory() -> Iterator[Path]:
    """A directory that other users can pass through."""
    made = Path(tempfile.mkdtemp(prefix="picket-test-", dir="/tmp"))
    made.chmod(0o711)
    yield made
    shutil.rmtree(made)


def start(directory: Path, ports: list[Served], user: int) -> subprocess.Popen[bytes]:
    """An application's process."""
    own = directory / "app"
    own.mkdir(mode=0o700)
    if user >= 0:
        os.chown(own, user, user)
    spec = Spec("shop/cart", str(own / "control.sock"), os.geteuid(), ports, user, user)
    (directory / "app.json").write_bytes(msgspec.json.encode(spec))
    return subprocess.Popen([sys.executable, "-m", "controlplane.demo.services", "--spec", str(directory / "app.json")])


@asynccontextmanager
async def running(directory: Path, ports: list[Served], *, user: int = -1) -> AsyncIterator[tuple[Application, int]]:
    """An application's process, and the connection to it."""
    process = start(directory, ports, user)
    application = Application("shop/cart", directory / "app" / "control.sock")
    try:
        await asyncio.wait_for(application.connect(), 20)
        yield application, process.pid
    finally:
        await application.close()
        process.terminate()
        assert process.wait(10) in {0, -signal.SIGKILL}


async def test_it_serves_calls_and_tells(directory: Path, free_port: int) -> None:
    """All that the demo does with an application, over its socket."""
    call = Call(0, "127.0.0.1", free_port, "redis", Markers().next())
    async with running(directory, [Served(6379, "redis", "127.0.0.1", free_port)]) as (application, _):
        outcomes = await together(application.call(msgspec.structs.replace(call, marker=f"picket-00000000-{n}")) for n in range(50))
        assert {outcome.result for outcome in outcomes} == {Result.ANSWERED}
        assert (await application.received()).marked == {f"picket-00000000-{n}": 1 for n in range(50)}


async def test_only_its_user_can_reach_its_socket(directory: Path) -> None:
    """Its directory and its socket are closed to others."""
    async with running(directory, []):
        assert stat.S_IMODE((directory / "app" / "control.sock").stat().st_mode) == 0o600


@pytest.mark.skipif(os.geteuid() != 0, reason="becoming somebody else takes root")
async def test_it_becomes_another_user_and_hears_no_third(directory: Path, free_port: int) -> None:
    """It is nobody for good, still answers over TLS and gRPC, and refuses users that are neither the demo nor itself."""
    certificate = make_certificate(directory, ["cart"], (NOBODY, NOBODY))
    ports = [Served(443, "https", "127.0.0.1", free_port, *map(str, certificate))]
    async with running(directory, ports, user=NOBODY) as (application, pid):
        assert users_of(pid) == [NOBODY] * 4
        call = Call(0, "127.0.0.1", free_port, "https", "picket-00000000-1", "cart", "GET", "/", 10.0, str(certificate[0]))
        assert (await application.call(call)).result is Result.ANSWERED
        (directory / "app").chmod(0o711)
        (directory / "app" / "control.sock").chmod(0o666)
        assert heard_by(directory / "app" / "control.sock", user=1000) == ""
        assert heard_by(directory / "app" / "control.sock", user=NOBODY).startswith('{"type":"received"')


def users_of(pid: int) -> list[int]:
    """Real, effective, saved and file system user of a process."""
    line = next(line for line in Path(f"/proc/{pid}/status").read_text().splitlines() if line.startswith("Uid:"))
    return [int(text) for text in line.split()[1:]]


def heard_by(control: Path, user: int) -> str:
    """What another user is answered at a control socket; empty for nothing."""
    script = f"""
import os, socket
os.setuid({user})
try:
    s = socket.socket(socket.AF_UNIX)
    s.connect({str(control)!r})
    s.sendall(b'{{"type":"received","id":1}}\\n')
    print(s.recv(1000).decode())
except ConnectionError:
    pass
"""
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout.strip()


async def test_orders_that_are_none_end_the_connection_only(directory: Path) -> None:
    """Garbage from one side does not stop the application."""
    async with running(directory, []) as (application, _):
        with socket.socket(socket.AF_UNIX) as other:
            other.connect(str(directory / "app" / "control.sock"))
            other.sendall(b"not json\n")
            other.settimeout(10)
            assert other.recv(10) == b""
        assert await application.received() == Received(1, {}, {})


async def test_an_application_that_ends_is_told_to_who_waits(directory: Path, free_port: int) -> None:
    """A call under way fails at once, and every later one."""
    called = asyncio.Event()

    async def hold(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        called.set()
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(hold, "127.0.0.1", free_port)
    async with running(directory, []) as (application, pid), listening:
        call = asyncio.create_task(application.call(Call(0, "127.0.0.1", free_port, "redis", "m")))
        await called.wait()
        os.kill(pid, signal.SIGKILL)
        with pytest.raises(DriverError, match="shop/cart: the application is gone"):
            await call
        with pytest.raises(DriverError, match="not there any more"):
            await application.received()


async def test_a_stolen_identity_gets_to_who_believes_it(directory: Path, free_port: int) -> None:
    """Real protocols pass through the thief's tunnel, over TLS that both sides check."""
    authority = load_or_create(directory / "ca", "picket.test")
    key = ec.generate_private_key(ec.SECP256R1())
    csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
    svid = authority.sign(
        csr.public_bytes(serialization.Encoding.DER), WorkloadId("shop", "web"), timedelta(hours=1), datetime.now(UTC)
    )
    assert isinstance(svid, Svid)
    identity, peers = directory / "identity.pem", directory / "peers.pem"
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    identity.write_bytes(pem + svid.chain_pem)
    peers.write_bytes(authority.bundle_pem)
    ports = [Served(1, "tls", "127.0.0.1", free_port, str(identity), str(identity))]
    async with running(directory, ports) as (application, _):
        # Inside the tunnel the call speaks plain lines: the server's TLS ends what the tunnel begins.
        call = Call(0, "127.0.0.1", free_port, "tcp", "picket-00000000-1", identity_file=str(identity), peers_file=str(peers))
        assert (await application.call(call)).result is Result.ANSWERED
        other = load_or_create(directory / "ca2", "picket.test")
        peers.write_bytes(other.bundle_pem)
        (directory / "peers2.pem").write_bytes(other.bundle_pem)
        call = msgspec.structs.replace(call, marker="picket-00000000-2", peers_file=str(directory / "peers2.pem"))
        assert (await application.call(call)).result is Result.CLOSED
        assert (await application.received()).marked == {"picket-00000000-1": 1}


async def test_where_one_of_several_fails_its_error_is_raised() -> None:
    """Not a group of errors, and the others do not go on."""
    ended = asyncio.Event()

    async def long() -> None:
        try:
            await asyncio.sleep(60)
        finally:
            ended.set()

    async def failing() -> None:
        raise DriverError("gone")

    with pytest.raises(DriverError, match="gone"):
        await together([long(), failing()])
    assert ended.is_set()


def test_markers_are_never_the_same() -> None:
    """Not in one run, and not in two."""
    first, second = Markers(), Markers()
    made = [first.next(), first.next(), second.next(), second.next()]
    assert len(set(made)) == 4
