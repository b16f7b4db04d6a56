"""Who gets in, with real certificates over real TLS: the right one, and every wrong one."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from controlplane.identity.authority import CertificateAuthority, load_or_create
from controlplane.server import listen
from controlplane.server.authentication import INSECURE_PEER_KEY, Authenticated, Authenticator, Node, Unauthenticated, read_node
from controlplane.settings import parse_listen
from tests.harness.adsclient import connect
from tests.harness.mesh import TRUST_DOMAIN, WEB, credentials

URI = WEB.uri(TRUST_DOMAIN)


class Asked:
    """A server that only says who asked."""

    def __init__(self, authority: CertificateAuthority, authenticator: Authenticator) -> None:
        self.peers: list[Authenticated | Unauthenticated] = []
        self._authenticator = authenticator
        self._server = listen.mesh_server()
        handler: Any = grpc.unary_unary_rpc_method_handler(self._ask)
        self._server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Who", {"Ask": handler}),))
        secured = None
        if not authenticator.insecure:
            secured = listen.server_credentials(authority, (), client_certificates=True)
        self.target = listen.bind(self._server, parse_listen("127.0.0.1:0", "test"), secured)

    async def _ask(self, _: bytes, context: grpc.aio.ServicerContext[bytes, bytes]) -> bytes:
        self.peers.append(self._authenticator.peer(context))
        return b""

    @asynccontextmanager
    async def served(self) -> AsyncIterator[None]:
        await self._server.start()
        try:
            yield
        finally:
            await self._server.stop(None)


def asking(channel: grpc.aio.Channel) -> Any:
    """The one method, as bytes."""
    return channel.unary_unary("/Who/Ask")


async def ask(target: str, secured: grpc.ChannelCredentials | None, metadata: tuple[tuple[str, str], ...] = ()) -> grpc.StatusCode:
    """One call's status."""
    async with connect(target, secured) as channel:
        try:
            await asking(channel)(b"", metadata=metadata or None, timeout=5)
        except grpc.aio.AioRpcError as error:
            return error.code()
    return grpc.StatusCode.OK


@pytest.fixture
def authority(directory: Path) -> CertificateAuthority:
    """The mesh's own authority."""
    return load_or_create(directory / "ca", TRUST_DOMAIN)


def signed(
    authority: CertificateAuthority,
    names: list[x509.GeneralName],
    begins: timedelta = timedelta(minutes=-5),
    ends: timedelta = timedelta(hours=1),
) -> grpc.ChannelCredentials:
    """A client with a certificate of any names and times, which the authority would not sign by itself."""
    key = ec.generate_private_key(ec.SECP256R1())
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(x509.Name([]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now + begins)
        .not_valid_after(now + ends)
        .add_extension(x509.SubjectAlternativeName(names or [x509.DNSName("web")]), critical=True)
        .sign(authority.key, hashes.SHA256())
    )
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    return grpc.ssl_channel_credentials(authority.bundle_pem, pem, certificate.public_bytes(serialization.Encoding.PEM))


def uris(*texts: str) -> list[x509.GeneralName]:
    """URI names."""
    return [x509.UniformResourceIdentifier(text) for text in texts]


async def test_the_certificates_name_is_the_identity(authority: CertificateAuthority) -> None:
    """A certificate of the mesh names its workload and its end, whatever the call says."""
    asked = Asked(authority, Authenticator(TRUST_DOMAIN))
    async with asked.served():
        claimed = ((INSECURE_PEER_KEY, f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/cart"),)
        assert await ask(asked.target, credentials(authority, WEB), claimed) is grpc.StatusCode.OK
    (peer,) = asked.peers
    assert isinstance(peer, Authenticated)
    assert peer.workload == WEB
    assert peer.expires_seconds is not None
    assert abs(peer.expires_seconds - datetime.now(UTC).timestamp() - 3600) < 60


@pytest.mark.parametrize("wrong", ["none", "foreign", "expired", "not yet", "plaintext"])
async def test_what_tls_refuses_never_reaches_a_handler(authority: CertificateAuthority, directory: Path, wrong: str) -> None:
    """No certificate, another authority's, one out of its time, and no TLS at all end in the handshake."""
    foreign = load_or_create(directory / "other", TRUST_DOMAIN)
    clients = {
        "none": grpc.ssl_channel_credentials(authority.bundle_pem),
        "foreign": credentials(foreign, WEB, trusting=authority),
        "expired": signed(authority, uris(URI), ends=timedelta(minutes=-1)),
        "not yet": signed(authority, uris(URI), begins=timedelta(minutes=10)),
        "plaintext": None,
    }
    asked = Asked(authority, Authenticator(TRUST_DOMAIN))
    async with asked.served():
        assert await ask(asked.target, clients[wrong]) is grpc.StatusCode.UNAVAILABLE
    assert asked.peers == []


@pytest.mark.parametrize(
    ("names", "says"),
    [
        ([], "no URI name"),
        (uris(URI, f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/cart"), "more than one"),
        (uris("spiffe://elsewhere/ns/shop/sa/web"), "trust domain"),
        (uris(f"spiffe://{TRUST_DOMAIN}.evil/ns/shop/sa/web"), "trust domain"),
        (uris(f"spiffe://{TRUST_DOMAIN}/picket/controlplane"), "form"),
        (uris(f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/web/more"), "SPIFFE"),
        (uris(f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/"), "SPIFFE"),
        (uris("https://picket.test/ns/shop/sa/web"), "trust domain"),
    ],
)
async def test_names_that_are_no_identity(authority: CertificateAuthority, names: list[x509.GeneralName], says: str) -> None:
    """A certificate that the authority signed without a single proper SPIFFE ID proves nothing."""
    asked = Asked(authority, Authenticator(TRUST_DOMAIN))
    async with asked.served():
        await ask(asked.target, signed(authority, names))
    (peer,) = asked.peers
    assert isinstance(peer, Unauthenticated)
    assert says in peer.reason


async def test_an_old_connection_does_not_outlive_its_certificate(authority: CertificateAuthority) -> None:
    """TLS looks once; a call on a connection whose certificate has ended since is not believed."""
    later = datetime.now(UTC).timestamp() + 3700
    asked = Asked(authority, Authenticator(TRUST_DOMAIN, clock=lambda: later))
    async with asked.served():
        await ask(asked.target, credentials(authority, WEB))
    (peer,) = asked.peers
    assert isinstance(peer, Unauthenticated)
    assert "expired" in peer.reason


async def test_insecure_peers_say_who_they_are(authority: CertificateAuthority) -> None:
    """With --insecure the metadata counts; without it nobody is believed."""
    asked = Asked(authority, Authenticator(TRUST_DOMAIN, insecure=True))
    async with asked.served():
        await ask(asked.target, None, ((INSECURE_PEER_KEY, URI),))
        await ask(asked.target, None)
        await ask(asked.target, None, ((INSECURE_PEER_KEY, "spiffe://elsewhere/ns/shop/sa/web"),))
    assert asked.peers[0] == Authenticated(WEB, None)
    assert isinstance(asked.peers[1], Unauthenticated)
    assert isinstance(asked.peers[2], Unauthenticated)


async def test_compressed_requests_are_not_taken(authority: CertificateAuthority) -> None:
    """A small message that becomes a large one is refused before it is unpacked."""
    asked = Asked(authority, Authenticator(TRUST_DOMAIN))
    async with asked.served(), connect(asked.target, credentials(authority, WEB)) as channel:
        call = asking(channel)(bytes(1_000_000), compression=grpc.Compression.Gzip, timeout=5)
        assert await call.code() is grpc.StatusCode.UNIMPLEMENTED
    assert asked.peers == []


async def test_oversized_requests_have_a_clear_status(authority: CertificateAuthority) -> None:
    """What is larger than any request of ours is not read to its end."""
    asked = Asked(authority, Authenticator(TRUST_DOMAIN))
    async with asked.served(), connect(asked.target, credentials(authority, WEB)) as channel:
        call = asking(channel)(bytes(listen.MAX_REQUEST_BYTES + 1), timeout=5)
        assert await call.code() is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert asked.peers == []


async def test_the_listeners_certificate_is_renewed(authority: CertificateAuthority) -> None:
    """New connections meet a new certificate once the old one is half spent, and are served without a break."""
    made = datetime.now(UTC) - timedelta(hours=13)
    offset = timedelta()
    server = listen.mesh_server()

    async def answer(_: bytes, __: object) -> bytes:
        return b"yes"

    handler: Any = grpc.unary_unary_rpc_method_handler(answer)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("Who", {"Ask": handler}),))
    secured = listen.server_credentials(authority, (), client_certificates=False, clock=lambda: made + offset)
    target = listen.bind(server, parse_listen("127.0.0.1:0", "test"), secured)
    await server.start()
    client = grpc.ssl_channel_credentials(authority.bundle_pem)
    host, _, port = target.partition(":")

    async def serial() -> int:
        context = ssl.create_default_context(cadata=authority.bundle_pem.decode())
        context.check_hostname = False
        context.set_alpn_protocols(["h2"])
        _, writer = await asyncio.open_connection(host, int(port), ssl=context)
        der = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        writer.close()
        return x509.load_der_x509_certificate(der).serial_number

    try:
        async with connect(target, client) as before:
            assert await asking(before)(b"", timeout=5) == b"yes"
            first = await serial()
            assert await serial() == first
            offset = timedelta(hours=13)
            assert await serial() != first
            assert await asking(before)(b"", timeout=5) == b"yes"
    finally:
        await server.stop(None)


def test_nodes() -> None:
    """A node ID has three parts, and no part that could not be shown."""
    assert read_node("sidecar~shop/web~web-0") == Node("shop/web", "web-0")
    for wrong in ("", "sidecar~a", "sidecar~a~b~c", "x~a~b", "sidecar~a~", "sidecar~a~\x1b[31m", "sidecar~a~" + "b" * 129):
        assert read_node(wrong) is None
