"""One forbidden connection by the real program, against servers that refuse it, let it through, or are somebody else."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from controlplane.identity.authority import CertificateAuthority, Svid, load_or_create
from controlplane.identity.spiffe import WorkloadId
from protos.picket.v1.sidecar_pb2 import Probe
from sidecar.identity import Identity
from sidecar.join import Join
from sidecar.prober import Seen, attempt_apart
from tests.harness.mesh import CART, TRUST_DOMAIN, WEB, new_key
from tests.sidecar.uplinks import identity_of

MARK = "0123456789abcdef" * 2


class Peer:
    """A server with the certificate of a workload, and what it was asked."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.authority = load_or_create(directory / "ca", TRUST_DOMAIN)
        self.heard: list[bytes] = []
        self.names: list[str] = []
        self.listed = WEB

    def context(self, workload: WorkloadId, authority: CertificateAuthority | None = None) -> ssl.SSLContext:
        key, csr = new_key()
        svid = (authority or self.authority).sign(csr, workload, timedelta(hours=1), datetime.now(UTC))
        assert isinstance(svid, Svid)
        file = self.directory / "pair.pem"
        file.write_bytes(key + svid.chain_pem)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(file)
        context.verify_mode = ssl.CERT_REQUIRED
        context.load_verify_locations(cadata=self.authority.bundle_pem.decode())
        context.sni_callback = lambda _, name, __: self.names.append(name)
        return context

    @asynccontextmanager
    async def serving(self, answer: bytes | None, tls: ssl.SSLContext | None) -> AsyncIterator[int]:
        """Answers whatever comes with some bytes; ``None`` for never. The port."""
        done = asyncio.Event()

        async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            with suppress(OSError):
                if answer is None:
                    await done.wait()
                else:
                    self.heard.append(await reader.read(4096) if answer else b"")
                    writer.write(answer)
                    await writer.drain()
                writer.close()

        server = await asyncio.start_server(serve, "127.0.0.1", 0, ssl=tls)
        async with server:
            yield server.sockets[0].getsockname()[1]
            done.set()


@pytest.fixture
def peer(tmp_path: Path) -> Peer:
    return Peer(tmp_path)


async def tried(peer: Peer, port: int, *, http: bool = True, identity: Identity | None = None) -> Seen:
    join = Join("", "", TRUST_DOMAIN, str(WEB), "", peer.authority.bundle_pem.decode(), "", insecure=False)
    probe = Probe(mark=MARK, address="127.0.0.1", port=port, workload=str(CART), alpn="picket", http=http)
    return await attempt_apart(probe, join, identity or identity_of(peer.authority))


@pytest.mark.parametrize(
    ("answer", "seen"),
    [
        (b"HTTP/1.1 403 Forbidden\r\n\r\n", Seen("refused", "HTTP 403")),
        (b"HTTP/1.1 200 OK\r\n\r\n", Seen("passed", "HTTP 200")),
        (b"HTTP/1.1 404 Not Found\r\n\r\n", Seen("passed", "HTTP 404")),
        (b"220 smtp.example ESMTP\r\n", Seen("passed", "bytes that are no HTTP came")),
        (b"", Seen("refused", "closed without a byte")),
    ],
)
async def test_a_request_tells_what_it_was_answered(peer: Peer, answer: bytes, seen: Seen) -> None:
    async with peer.serving(answer, peer.context(CART)) as port:
        assert await tried(peer, port) == seen
    assert peer.names == [f"{MARK}.probe.picket.invalid"]
    assert all(said.startswith(b"HEAD /.well-known/picket-probe HTTP/1.1\r\n") for said in peer.heard if said)


async def test_without_a_request_nothing_is_said_and_any_byte_tells(peer: Peer) -> None:
    async with peer.serving(None, peer.context(CART)) as port:
        assert (await tried(peer, port, http=False)).outcome == "open"


async def test_a_certificate_that_is_not_wanted_is_refused_by_an_alert(peer: Peer, tmp_path: Path) -> None:
    stranger = load_or_create(tmp_path / "other", TRUST_DOMAIN)
    context = peer.context(CART)

    def refuse(listener: socket.socket) -> None:
        """As Envoy does; asyncio would hang up without a word. What is not read would take the alert away with it."""
        accepted, _ = listener.accept()
        with accepted.dup() as kept:
            with accepted, pytest.raises(ssl.SSLError):
                context.wrap_socket(accepted, server_side=True)
            kept.shutdown(socket.SHUT_WR)
            while kept.recv(65536):
                pass

    with socket.create_server(("127.0.0.1", 0)) as listener:
        refusing = asyncio.create_task(asyncio.to_thread(refuse, listener))
        other = identity_of(stranger, bundle_pem=peer.authority.bundle_pem)
        seen = await tried(peer, listener.getsockname()[1], identity=other)
        await refusing
    assert seen == Seen("refused", "TLS alert: unknown ca")


async def test_who_is_not_the_sidecar_that_was_meant_hears_nothing(peer: Peer, tmp_path: Path) -> None:
    async with peer.serving(b"HTTP/1.1 403 Forbidden\r\n\r\n", peer.context(WEB)) as port:
        seen = await tried(peer, port)
    assert seen == Seen("stranger", f"it is {WEB.uri(TRUST_DOMAIN)}")
    assert peer.heard in ([], [b""])
    foreign = load_or_create(tmp_path / "foreign", TRUST_DOMAIN)
    async with peer.serving(b"", peer.context(CART, foreign)) as port:
        seen = await tried(peer, port)
    assert seen.outcome == "stranger"
    async with peer.serving(b"+OK an application of its own\r\n", None) as port:
        assert await tried(peer, port) == Seen("stranger", "it speaks no TLS")


async def test_where_nobody_listens_it_is_not_reached(peer: Peer) -> None:
    async with peer.serving(b"", None) as port:
        pass
    assert await tried(peer, port) == Seen("unreached", "Connection refused")
