"""Certificates through real listeners: a token works once, renewal needs a proven identity, a mistake costs nothing."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509

from controlplane.identity.attestation import Attested, NotAttested, Undecided
from controlplane.identity.spiffe import WorkloadId
from controlplane.server.certificates import SERVICE
from controlplane.store.sql import SqlStore
from protos.picket.v1.certificates_pb2 import EnrollRequest, RenewRequest, Svid
from tests.harness.adsclient import connect
from tests.harness.mesh import TRUST_DOMAIN, WEB, Mesh, new_key, running_mesh


async def enroll(mesh: Mesh, token: str, csr: bytes | None = None, *, target: str = "") -> Svid | grpc.StatusCode:
    """The certificate for a token, or why there is none. The client has no certificate of its own."""
    made = grpc.ssl_channel_credentials(mesh.authority.bundle_pem)
    request = EnrollRequest(join_token=token, csr_der=new_key()[1] if csr is None else csr)
    async with connect(target or mesh.enrollment, made) as channel:
        return await _asked(channel, "Enroll", request.SerializeToString())


async def renew(mesh: Mesh, workload: WorkloadId, csr: bytes) -> Svid | grpc.StatusCode:
    """The next certificate for who holds one."""
    async with connect(mesh.target, mesh.credentials(workload)) as channel:
        return await _asked(channel, "Renew", RenewRequest(csr_der=csr).SerializeToString())


async def _asked(channel: grpc.aio.Channel, method: str, body: bytes) -> Svid | grpc.StatusCode:
    ask: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(
        f"/{SERVICE}/{method}", response_deserializer=Svid.FromString
    )
    try:
        answer = await ask(body, timeout=20)
    except grpc.aio.AioRpcError as error:
        return error.code()
    assert isinstance(answer, Svid)
    return answer


def actions(mesh: Mesh) -> list[str]:
    """What the audit log holds, oldest first."""
    return [row.action for row in reversed(mesh.store.audit(10))]


async def test_a_token_works_once(mesh: Mesh) -> None:
    """The certificate is for the token's workload and the request's key; the second use is refused and logged."""
    token = mesh.admission.new_token(WEB, 0, "ana")
    _, csr = new_key()
    svid = await enroll(mesh, token, csr)
    assert isinstance(svid, Svid)
    assert svid.spiffe_id == WEB.uri(TRUST_DOMAIN)
    assert svid.bundle_pem == mesh.authority.bundle_pem
    leaf = x509.load_pem_x509_certificate(svid.certificate_chain_pem)
    names = leaf.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert names.get_values_for_type(x509.UniformResourceIdentifier) == [svid.spiffe_id]
    assert leaf.public_key() == x509.load_der_x509_csr(csr).public_key()
    assert leaf.not_valid_after_utc.timestamp() == svid.not_after_seconds
    leaf.verify_directly_issued_by(mesh.authority.certificate)
    assert await enroll(mesh, token) is grpc.StatusCode.PERMISSION_DENIED
    assert len(mesh.heard.refusals) == 1
    assert token not in str(mesh.heard.refusals)
    assert actions(mesh) == ["token:create", "sidecar:enroll"]


async def test_a_token_works_once_also_at_the_same_time(mesh: Mesh) -> None:
    """Of several that come together exactly one gets a certificate."""
    token = mesh.admission.new_token(WEB, 0, "ana")
    answers = await asyncio.gather(*(enroll(mesh, token) for _ in range(6)))
    assert sum(isinstance(answer, Svid) for answer in answers) == 1
    assert [answer for answer in answers if not isinstance(answer, Svid)] == [grpc.StatusCode.PERMISSION_DENIED] * 5
    assert actions(mesh).count("sidecar:enroll") == 1


@pytest.mark.parametrize("csr", [b"", b"not a request", b"\x30" * 20_000], ids=["empty", "garbage", "oversized"])
async def test_a_bad_signing_request_does_not_use_the_token_up(mesh: Mesh, csr: bytes) -> None:
    """Whoever made the mistake may try again with the same token."""
    token = mesh.admission.new_token(WEB, 0, "ana")
    assert await enroll(mesh, token, csr) is grpc.StatusCode.INVALID_ARGUMENT
    assert isinstance(await enroll(mesh, token), Svid)


async def test_a_signing_request_of_another_key_is_refused(mesh: Mesh) -> None:
    """Who does not hold the key gets no certificate for it."""
    forged = bytearray(new_key()[1])
    forged[-1] ^= 1
    assert await enroll(mesh, mesh.admission.new_token(WEB, 0, "ana"), bytes(forged)) is grpc.StatusCode.INVALID_ARGUMENT


@pytest.mark.parametrize(
    ("token", "code"),
    [
        ("", grpc.StatusCode.INVALID_ARGUMENT),
        ("x" * 257, grpc.StatusCode.INVALID_ARGUMENT),
        ("picket-join-guessed", grpc.StatusCode.PERMISSION_DENIED),
    ],
)
async def test_a_token_that_was_never_made_admits_nobody(mesh: Mesh, token: str, code: grpc.StatusCode) -> None:
    """Nothing is signed and nothing is audited as an enrollment."""
    assert await enroll(mesh, token) is code
    assert actions(mesh) == []


async def test_a_workload_that_left_the_topology_enrolls_and_renews_no_more(mesh: Mesh) -> None:
    """That is how an identity ends; the token is kept for when the workload is back."""
    token = mesh.admission.new_token(WEB, 0, "ana")
    mesh.gone.add(WEB)
    assert await enroll(mesh, token) is grpc.StatusCode.PERMISSION_DENIED
    assert await renew(mesh, WEB, new_key()[1]) is grpc.StatusCode.PERMISSION_DENIED
    assert [peer for peer, _, _ in mesh.heard.refusals][1:] == ["shop/web"]
    mesh.gone.clear()
    assert isinstance(await enroll(mesh, token), Svid)


async def test_renewal_signs_a_new_key_for_the_proven_identity(mesh: Mesh) -> None:
    """The same identity with another key; a bad request is told so."""
    _, csr = new_key()
    svid = await renew(mesh, WEB, csr)
    assert isinstance(svid, Svid)
    assert svid.spiffe_id == WEB.uri(TRUST_DOMAIN)
    leaf = x509.load_pem_x509_certificate(svid.certificate_chain_pem)
    assert leaf.public_key() == x509.load_der_x509_csr(csr).public_key()
    assert await renew(mesh, WEB, b"x") is grpc.StatusCode.INVALID_ARGUMENT


async def test_each_listener_serves_its_own_method_only(mesh: Mesh) -> None:
    """Enrollment's listener, which asks for no certificate, renews nothing; the mesh's enrolls nobody."""
    async with connect(mesh.enrollment, grpc.ssl_channel_credentials(mesh.authority.bundle_pem)) as channel:
        body = RenewRequest(csr_der=new_key()[1]).SerializeToString()
        assert await _asked(channel, "Renew", body) is grpc.StatusCode.UNIMPLEMENTED
    async with connect(mesh.target, mesh.credentials(WEB)) as channel:
        assert await _asked(channel, "Enroll", b"") is grpc.StatusCode.UNIMPLEMENTED


async def attested(directory: Path, store: SqlStore, answer: Attested | NotAttested | Undecided) -> tuple[object, ...]:
    """What a service-account token brings, what was asked, and what a renewal then brings."""
    asked: list[str] = []

    class Platform:
        async def attest(self, token: str) -> Attested | NotAttested | Undecided:
            asked.append(token)
            return answer

    async with running_mesh(directory, store, attestor=Platform()) as mesh:
        made = grpc.ssl_channel_credentials(mesh.authority.bundle_pem)
        request = EnrollRequest(service_account_token="a.b.c", csr_der=new_key()[1])
        async with connect(mesh.enrollment, made) as channel:
            got = await _asked(channel, "Enroll", request.SerializeToString())
        assert "a.b.c" not in str(mesh.heard.refusals)
        return got, asked, await renew(mesh, WEB, new_key()[1]), actions(mesh)


async def test_a_platforms_word_brings_a_certificate_and_nobody_is_renewed_there(directory: Path, store: SqlStore) -> None:
    """The name is the platform's; the next certificate is had by the token again, so that a stolen one ends."""
    got, asked, renewed, _ = await attested(directory, store, Attested(WEB, "web-7c9", "0f-11"))
    assert isinstance(got, Svid)
    assert got.spiffe_id == WEB.uri(TRUST_DOMAIN)
    assert asked == ["a.b.c"]
    assert renewed is grpc.StatusCode.PERMISSION_DENIED


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        (NotAttested("not bound to a pod"), grpc.StatusCode.PERMISSION_DENIED),
        (Undecided("try again"), grpc.StatusCode.UNAVAILABLE),
        (Attested(WorkloadId("shop", "newer"), "newer-1", "0f-12"), grpc.StatusCode.UNAVAILABLE),
    ],
)
async def test_without_the_platforms_word_or_a_place_in_the_mesh_there_is_no_certificate(
    directory: Path, store: SqlStore, answer: Attested | NotAttested | Undecided, code: grpc.StatusCode
) -> None:
    """A pod that the topology does not have yet may try again."""
    assert (await attested(directory, store, answer))[0] is code


async def test_where_no_platform_attests_a_service_account_proves_nothing(mesh: Mesh) -> None:
    """The sidecar is told what is missing."""
    request = EnrollRequest(service_account_token="a.b.c", csr_der=new_key()[1])
    async with connect(mesh.enrollment, grpc.ssl_channel_credentials(mesh.authority.bundle_pem)) as channel:
        assert await _asked(channel, "Enroll", request.SerializeToString()) is grpc.StatusCode.FAILED_PRECONDITION
