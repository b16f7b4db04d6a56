"""Certificates over the wire, from a real control plane."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane.identity.authority import load_or_create
from sidecar.certifier import GrpcCertifier
from sidecar.issuing import Issued, Refused, Unreachable, new_key
from tests.harness.directories import short_directory
from tests.harness.mesh import CART, TRUST_DOMAIN, Mesh, running_mesh
from tests.sidecar.joins import write_join
from tests.sidecar.uplinks import identity_of, join_of, opened_store


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made


@pytest.fixture
async def mesh(directory: Path) -> AsyncIterator[Mesh]:
    with opened_store(directory) as store:
        async with running_mesh(directory, store) as running:
            yield running


@pytest.fixture
async def csr() -> bytes:
    return (await asyncio.to_thread(new_key))[1]


async def test_a_join_token_is_traded_for_a_certificate_once(mesh: Mesh, csr: bytes) -> None:
    token = mesh.admission.new_token(CART, 0, "test")
    certifier = GrpcCertifier(join_of(mesh))
    answer = await certifier.enroll(token, csr)
    assert isinstance(answer, Issued)
    assert answer.spiffe_id == CART.uri(TRUST_DOMAIN)
    assert answer.bundle_pem == mesh.authority.bundle_pem
    again = await certifier.enroll(token, csr)
    assert isinstance(again, Refused)
    assert "picket token" in again.reason


async def test_a_certificate_is_renewed_by_its_own_proof(mesh: Mesh, csr: bytes) -> None:
    answer = await GrpcCertifier(join_of(mesh)).renew(identity_of(mesh.authority), csr)
    assert isinstance(answer, Issued)
    assert answer.spiffe_id == CART.uri(TRUST_DOMAIN)


async def test_a_request_that_is_none_is_refused(mesh: Mesh) -> None:
    token = mesh.admission.new_token(CART, 0, "test")
    answer = await GrpcCertifier(join_of(mesh)).enroll(token, b"nonsense")
    assert isinstance(answer, Refused)
    assert "csr_der" in answer.reason


@pytest.mark.parametrize("how", ["enroll", "renew"])
async def test_a_control_plane_that_is_not_there_may_come_back(mesh: Mesh, csr: bytes, how: str) -> None:
    certifier = GrpcCertifier(join_of(mesh, control_plane="127.0.0.1:1", enrollment="127.0.0.1:1"))
    asked = certifier.enroll("token", csr) if how == "enroll" else certifier.renew(identity_of(mesh.authority), csr)
    answer = await asked
    assert isinstance(answer, Unreachable)
    assert answer.reason.startswith("127.0.0.1:1: UNAVAILABLE")


async def test_a_token_is_not_shown_to_a_control_plane_that_cannot_prove_itself(mesh: Mesh, directory: Path, csr: bytes) -> None:
    token = mesh.admission.new_token(CART, 0, "test")
    stranger = load_or_create(directory / "stranger", TRUST_DOMAIN)
    for wrong in (join_of(mesh, bundle_pem=stranger.bundle_pem.decode()), join_of(mesh, server_name="somebody-else")):
        assert isinstance(await GrpcCertifier(wrong).enroll(token, csr), Unreachable)
    assert isinstance(await GrpcCertifier(join_of(mesh)).enroll(token, csr), Issued)  # it is still good


async def test_another_authoritys_certificate_renews_nothing(mesh: Mesh, directory: Path, csr: bytes) -> None:
    stranger = load_or_create(directory / "stranger", TRUST_DOMAIN)
    identity = identity_of(stranger)
    forged = type(identity)(
        identity.spiffe_id, identity.key_pem, identity.chain_pem, mesh.authority.bundle_pem.decode(),
        identity.not_before_seconds, identity.not_after_seconds,
    )  # fmt: skip
    assert isinstance(await GrpcCertifier(join_of(mesh)).renew(forged, csr), Unreachable | Refused)


async def test_a_join_file_that_a_person_replaced_brings_the_roots_of_now(mesh: Mesh, directory: Path, csr: bytes) -> None:
    """The one from before the authority was rotated trusts nobody that signs now."""
    stranger, file = load_or_create(directory / "stranger", TRUST_DOMAIN), directory / "join.json"
    old = join_of(mesh, bundle_pem=stranger.bundle_pem.decode())
    write_join(file, bundle_pem=old.bundle_pem)
    certifier = GrpcCertifier(old, file)
    token = mesh.admission.new_token(CART, 0, "test")
    assert isinstance(await certifier.enroll(token, csr), Unreachable)
    write_join(file, bundle_pem=mesh.authority.bundle_pem.decode())
    assert isinstance(await certifier.enroll(token, csr), Issued)
    file.write_text("{")
    assert isinstance(await certifier.enroll(token, csr), Unreachable)
