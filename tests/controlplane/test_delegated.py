"""A whole control plane with its identity from a Workload API: it believes others under open streams, and signs nothing."""

from __future__ import annotations

import asyncio
import ssl
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.api.client import ApiError
from controlplane.identity.authority import CertificateAuthority, load_or_create
from controlplane.server.certificates import SERVICE as CERTIFICATES
from controlplane.server.listen import SERVER_NAME
from controlplane.xds import tls, types
from protos.picket.v1.certificates_pb2 import EnrollRequest, RenewRequest
from protos.spiffe.svids import read_answer
from protos.spiffe.workload_pb2 import X509SVID
from tests.controlplane.test_runtime import READY_SECONDS, TOPOLOGY, Running, launched, running
from tests.harness.adsclient import DeltaClient, connect
from tests.harness.directories import short_directory
from tests.harness.workloadapi import Api, answer, serving, svid

TRUST_DOMAIN = "picket.test"
NAMES = (SERVER_NAME, "console.example.org")


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory("spiffe") as made:
        (made / "topology.yaml").write_bytes(TOPOLOGY)
        yield made


@pytest.fixture
def authority(directory: Path) -> CertificateAuthority:
    """SPIRE's, as far as this mesh sees it."""
    return load_or_create(directory / "ca", TRUST_DOMAIN)


@pytest.fixture
async def api(directory: Path, authority: CertificateAuthority) -> AsyncIterator[Api]:
    async with serving(directory / "api.sock") as made:
        made.give([own(authority)])
        yield made


def own(authority: CertificateAuthority, roots: bytes = b"", lifetime: timedelta = timedelta(hours=1)) -> X509SVID:
    """The control plane's."""
    return svid(authority, f"spiffe://{TRUST_DOMAIN}/picket/controlplane", dns=NAMES, roots=roots, lifetime=lifetime)


def options(api: Api) -> list[str]:
    return ["--identity", "workload-api", "--workload-api", f"unix://{api.path}", "--trust-domain", TRUST_DOMAIN]


def credentials(authority: CertificateAuthority, workload: str = "cart") -> grpc.ChannelCredentials:
    """A sidecar's."""
    (found,) = read_answer(answer(svid(authority, f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/{workload}")))
    return grpc.ssl_channel_credentials(authority.bundle_pem, found.key_pem.encode(), found.chain_pem.encode())


async def test_it_serves_and_new_roots_and_certificates_are_had_without_a_stream_ending(
    directory: Path, api: Api, authority: CertificateAuthority
) -> None:
    other = load_or_create(directory / "other-ca", TRUST_DOMAIN)
    tls_options = ("--api-tls-listen", "127.0.0.1:0", "--server-name", NAMES[1])
    async with running(directory, *options(api), *tls_options) as plane:
        console = plane.address("API https").removeprefix("https://")
        first = await shown(console, authority)
        async with connect(plane.address("gRPC"), credentials(authority)) as channel:
            client = DeltaClient(channel, "sidecar~shop/cart~cart-0")
            await client.subscribe_to_everything()
            await client.until(lambda: tls.BUNDLE in client.names(types.SECRET))
            before = client.held[types.SECRET][tls.BUNDLE]
            api.give([own(authority, other.bundle_pem)])
            await client.until(lambda: client.held[types.SECRET][tls.BUNDLE] != before)
            await plane.wait_for('"other roots"')
            async with connect(plane.address("gRPC"), credentials(other_with(other, authority))) as newer:
                second = DeltaClient(newer, "sidecar~shop/cart~cart-1")
                await second.subscribe(types.CLUSTER)
                await second.until(lambda: second.responses > 0)
                await second.close()
            assert await shown(console, authority) != first, "HTTPS shows the newer certificate"
            assert client.error is None
            await client.close()
        metrics = await asyncio.to_thread(plane.metrics)
        assert "picket_ca_roots 2.0" in metrics
        assert "picket_identity_not_after_seconds 1" in metrics
    assert not (directory / "ca" / "ca.key").is_relative_to(directory / "data")
    assert "PRIVATE" not in "".join(plane.log)


def other_with(signer: CertificateAuthority, trusted: CertificateAuthority) -> CertificateAuthority:
    """Signs by one, and its peers believe the other."""

    class _Mixed(CertificateAuthority):
        @property
        def bundle_pem(self) -> bytes:
            return trusted.bundle_pem

    return _Mixed(signer.trust_domain, signer.certificate, signer.key)


async def shown(address: str, authority: CertificateAuthority) -> bytes:
    """The certificate (DER) that the console shows to a browser that trusts an authority."""
    context = ssl.create_default_context(cadata=authority.bundle_pem.decode())
    host, _, port = address.rpartition(":")
    _, writer = await asyncio.open_connection(host, int(port), ssl=context, server_hostname=NAMES[1])
    try:
        found: bytes = writer.get_extra_info("ssl_object").getpeercert(binary_form=True)
        return found
    finally:
        writer.close()


async def test_it_signs_nothing_and_says_where_identities_come_from(
    directory: Path, api: Api, authority: CertificateAuthority
) -> None:
    told = "identities come from the SPIFFE Workload API"
    async with running(directory, *options(api)) as plane:
        roots = grpc.ssl_channel_credentials(authority.bundle_pem)
        enroll = EnrollRequest(join_token="picket-join-1", csr_der=b"x").SerializeToString()
        for listener, secured, method, request in (
            ("enrollment", roots, "Enroll", enroll),
            ("gRPC", credentials(authority), "Renew", RenewRequest(csr_der=b"x").SerializeToString()),
        ):
            async with connect(plane.address(listener), secured) as channel:
                ask: Any = channel.unary_unary(f"/{CERTIFICATES}/{method}")
                with pytest.raises(grpc.aio.AioRpcError, match=told) as refused:
                    await ask(request, timeout=20)
                assert refused.value.code() is grpc.StatusCode.FAILED_PRECONDITION
        for act in (
            lambda: plane.api().post("/api/v1/tokens", {"workload": "shop/web"}),
            lambda: plane.api().get("/api/v1/authority"),
            lambda: plane.api().post("/api/v1/authority/rotate", {"step": "prepare"}),
        ):
            with pytest.raises(ApiError, match="come from the SPIFFE Workload API"):
                await asyncio.to_thread(act)
    assert not (directory / "ca.key").exists()


async def test_one_that_has_ended_is_a_reason_not_to_be_ready(directory: Path, api: Api, authority: CertificateAuthority) -> None:
    def readiness(plane: Running) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"{plane.address('API')}/readyz", timeout=20) as said:
                return said.status, ""
        except urllib.error.HTTPError as error:
            with error:
                return error.code, error.read().decode()

    async with running(directory, *options(api)) as plane:
        assert await asyncio.to_thread(readiness, plane) == (200, "")
        api.give([own(authority, lifetime=timedelta(seconds=1))])
        await plane.wait_for("identity from the Workload API")
        api.give(grpc.StatusCode.PERMISSION_DENIED)
        await plane.wait_for("PERMISSION_DENIED")
        async with asyncio.timeout(READY_SECONDS):
            while (said := await asyncio.to_thread(readiness, plane))[0] == 200:  # noqa: ASYNC110  # another process knows
                await asyncio.sleep(0.1)
        assert said[0] == 503
        assert "has ended, and there is no other: PERMISSION_DENIED: no identity issued; register this process as" in said[1]


async def test_without_an_identity_it_does_not_start(directory: Path, api: Api, authority: CertificateAuthority) -> None:
    """Nothing listens before; whoever stops it meanwhile does not wait."""
    api.give([svid(authority, f"spiffe://{TRUST_DOMAIN}/ns/shop/sa/cart")])
    plane: Running = await launched(directory, *options(api))
    said = await plane.wait_for("no identity from the Workload API")
    assert f"lacks the DNS names {SERVER_NAME}" in said
    assert f"-dns {SERVER_NAME}" in said
    plane.process.terminate()
    async with asyncio.timeout(READY_SECONDS):
        assert await plane.ended() == 0
