"""The control plane's listener through a rotation of the authority: nobody is cut off that need not be, and no connection is."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.identity.authority import Svid
from controlplane.identity.generations import Generations, Impossible, activate, first_generation, key_id, prepare, retire
from controlplane.identity.mesh import MeshAuthority
from controlplane.identity.spiffe import WorkloadId
from controlplane.server import listen
from controlplane.server.authentication import Authenticated, Authenticator
from controlplane.server.certificates import SERVICE, Certificates
from controlplane.settings import parse_listen
from controlplane.workflow.admission import NotAdmitted
from protos.picket.v1.certificates_pb2 import RenewRequest
from tests.harness.authorities import older_authority
from tests.harness.mesh import new_key

HOUR = timedelta(hours=1)


def asking(channel: grpc.aio.Channel) -> Any:
    """The call; the published types want serialisers."""
    return channel.unary_unary("/Who/Ask")


class _Nobody:
    """Takes no join token."""

    def admit(self, token: str) -> NotAdmitted:
        return NotAdmitted(token)


class Listener:
    """A mesh listener that says whose key signed the certificate of who asks."""

    def __init__(self) -> None:
        self.authority = MeshAuthority(first_generation(older_authority("picket.test")))
        self.target = ""
        self.refusals: list[tuple[str, str, str]] = []

    def take(self, outcome: Generations | Impossible) -> None:
        assert isinstance(outcome, Generations)
        self.authority.replace(outcome)

    def peer(self) -> tuple[bytes, bytes]:
        """A key and a certificate of who signs now."""
        key = ec.generate_private_key(ec.SECP256R1())
        csr = x509.CertificateSigningRequestBuilder().subject_name(x509.Name([])).sign(key, hashes.SHA256())
        svid = self.authority.sign(csr.public_bytes(Encoding.DER), WorkloadId("shop", "cart"), HOUR, datetime.now(UTC))
        assert isinstance(svid, Svid)
        return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()), svid.chain_pem

    @asynccontextmanager
    async def serving(self) -> AsyncIterator[None]:
        authenticator = Authenticator("picket.test")

        async def answer(_: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
            peer = authenticator.peer(context)
            assert isinstance(peer, Authenticated)
            return peer.issuer.encode()

        server = listen.mesh_server()
        handler: Any = grpc.unary_unary_rpc_method_handler(answer)
        certificates = Certificates(
            self.authority, authenticator, _Nobody(), HOUR, lambda _: True, lambda _: None, lambda *said: self.refusals.append(said)
        )
        who = grpc.method_handlers_generic_handler("Who", {"Ask": handler})
        server.add_generic_rpc_handlers((who, certificates.mesh_handlers()))
        credentials = listen.server_credentials(self.authority, (), client_certificates=True)
        self.target = listen.bind(server, parse_listen("127.0.0.1:0", "test"), credentials)
        await server.start()
        try:
            yield
        finally:
            await server.stop(None)

    def channel(self, roots: bytes, peer: tuple[bytes, bytes]) -> grpc.aio.Channel:
        credentials = grpc.ssl_channel_credentials(roots, *peer)
        options = [("grpc.ssl_target_name_override", listen.SERVER_NAME), ("grpc.use_local_subchannel_pool", 1)]
        return grpc.aio.secure_channel(self.target, credentials, options=options)

    async def ask(self, roots: bytes, peer: tuple[bytes, bytes]) -> str:
        """Whose key signed, as a connection of its own is told; empty where there is none."""
        async with self.channel(roots, peer) as channel:
            try:
                return str((await asking(channel)(b"", timeout=10)).decode())
            except grpc.aio.AioRpcError:
                return ""


@pytest.fixture
async def listener() -> AsyncIterator[Listener]:
    made = Listener()
    async with made.serving():
        yield made


async def test_through_a_whole_rotation_old_peers_are_served_and_the_open_connection_goes_on(listener: Listener) -> None:
    """Also who trusts the old root alone, which is an older version's and allows no intermediate: BoringSSL believes the chain."""
    now = datetime.now(UTC)
    before, old = listener.authority.bundle_pem, listener.peer()
    old_id = key_id(listener.authority.generations.active.certificate)
    async with listener.channel(before, old) as open_channel:
        asked = asking(open_channel)
        assert (await asked(b"", timeout=10)).decode() == old_id
        listener.take(prepare(listener.authority.generations, now, 365 * 24 * HOUR))
        assert await listener.ask(before, old) == old_id

        listener.take(activate(listener.authority.generations, now))
        both, new = listener.authority.bundle_pem, listener.peer()
        new_id = key_id(listener.authority.generations.active.certificate)
        assert new_id != old_id
        assert await listener.ask(before, old) == old_id
        assert await listener.ask(both, old) == old_id
        assert await listener.ask(before, new) == new_id

        listener.take(retire(listener.authority.generations))
        assert await listener.ask(listener.authority.bundle_pem, new) == new_id
        assert await listener.ask(both, old) == ""
        assert await listener.ask(before, new) == ""
        assert (await asked(b"", timeout=10)).decode() == old_id


async def test_a_retired_root_brings_no_certificate_on_a_connection_that_outlived_it(listener: Listener) -> None:
    """Who holds the old key could make one that lasts for years, connect, and wait: its identity is not renewed any more."""
    now = datetime.now(UTC)
    both, old = listener.authority.bundle_pem, listener.peer()
    async with listener.channel(both, old) as open_channel:
        renew: Any = open_channel.unary_unary(f"/{SERVICE}/Renew")
        request = RenewRequest(csr_der=new_key()[1]).SerializeToString()
        listener.take(prepare(listener.authority.generations, now, 365 * 24 * HOUR))
        listener.take(activate(listener.authority.generations, now))
        assert await renew(request, timeout=10)
        listener.take(retire(listener.authority.generations))
        with pytest.raises(grpc.aio.AioRpcError, match="not trusted here now"):
            await renew(request, timeout=10)
    assert [said[:2] for said in listener.refusals] == [("shop/cart", "renew")]


async def test_a_listener_that_did_not_hear_of_a_step_yet_takes_the_new_ones_certificates(listener: Listener) -> None:
    """Control planes that share an authority hear of a step one after the other; the chain leads to what they trust."""
    ahead = Listener()
    ahead.authority = MeshAuthority(listener.authority.generations)
    ahead.take(prepare(ahead.authority.generations, datetime.now(UTC), 365 * 24 * HOUR))
    ahead.take(activate(ahead.authority.generations, datetime.now(UTC)))
    new_id = key_id(ahead.authority.generations.active.certificate)
    assert await listener.ask(ahead.authority.bundle_pem, ahead.peer()) == new_id
