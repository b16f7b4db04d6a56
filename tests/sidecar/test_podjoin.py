"""A pod's way into the mesh: options say where, files that the kubelet renews say with what, each time anew."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from dataclasses import replace
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.identity.attestation import Attested, NotAttested
from controlplane.identity.authority import CertificateAuthority, load_or_create
from sidecar.certifier import GrpcCertifier
from sidecar.identity import IdentityError
from sidecar.issuing import Issued, Unreachable, new_key
from sidecar.join import SettingsError
from sidecar.keeper import IdentityKeeper
from sidecar.options import parse
from tests.harness.directories import short_directory
from tests.harness.mesh import CART, running_mesh
from tests.sidecar.joins import PEM, write_join
from tests.sidecar.test_keeper import Signer
from tests.sidecar.uplinks import join_of, opened_store


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        (made / "token").write_text("first\n")
        (made / "bundle.pem").write_text(PEM)
        yield made


@pytest.fixture
def authority(directory: Path) -> CertificateAuthority:
    return load_or_create(directory / "ca", "picket.test")


def options(directory: Path, *without: str) -> list[str]:
    given = {
        "--token-file": str(directory / "token"), "--bundle-file": str(directory / "bundle.pem"), "--workload": "shop/cart",
        "--control-plane": "picket.picket-system.svc:7601", "--enrollment": "picket.picket-system.svc:7602",
        "--state": str(directory / "state"), "--instance": "cart-7c9", "--redirect-by": "init", "--trust-domain": "picket.test",
    }  # fmt: skip
    return [part for option, value in given.items() if option not in without for part in (option, value)]


def test_what_a_join_file_would_say_is_said_by_options(directory: Path) -> None:
    settings, warning = parse(options(directory), {})
    assert warning == ""
    assert settings.join.spiffe_id == "spiffe://picket.test/ns/shop/sa/cart"
    assert settings.join.bundle_pem == PEM
    assert settings.node_id == "sidecar~shop/cart~cart-7c9"
    assert "first" not in repr(settings)
    by_environment = {"PICKET_SIDECAR_TOKEN_FILE": str(directory / "token")}
    assert parse(options(directory, "--token-file"), by_environment)[0].join == settings.join


@pytest.mark.parametrize("missing", ["--bundle-file", "--control-plane", "--enrollment", "--workload"])
def test_what_is_missing_is_told(directory: Path, missing: str) -> None:
    with pytest.raises(SettingsError, match=f"{missing} is missing"):
        parse(options(directory, missing), {})


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (["--workload", "cart"], "not namespace/account"),
        (["--enrollment", "picket"], "not host:port"),
        (["--trust-domain", "Picket!"], "trust_domain"),
        (["--token-file", "/no/such/token"], "--token-file: /no/such/token"),
        (["--bundle-file", "/dev/null"], "no certificates"),
        (["--token-file", "/dev/null"], "no token"),
        (["--token-file", "/dev/zero"], "larger than"),
        (["--insecure"], "neither with --join nor with --insecure"),
    ],
)
def test_mistakes_are_told(directory: Path, more: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        parse([*options(directory), *more], {})


def test_a_join_file_and_a_token_file_exclude_each_other(directory: Path) -> None:
    join = write_join(directory / "join.json")
    with pytest.raises(SettingsError, match="neither with --join"):
        parse([*options(directory), "--join", str(join)], {})


async def test_each_certificate_is_asked_for_with_the_token_that_is_in_the_file_then(
    directory: Path, authority: CertificateAuthority
) -> None:
    signer = Signer(authority, lifetime=timedelta(seconds=1))
    join = parse(options(directory), {})[0].join
    keeper = IdentityKeeper(directory / "identity.json", join, signer, lambda _: None)
    running = asyncio.create_task(keeper.run())
    await signer.until(lambda: signer.signed >= 1)
    (directory / "token").write_text("second")
    await signer.until(lambda: ("attest", "second") in signer.asked)
    assert {how for how, _ in signer.asked} == {"attest"}
    assert signer.asked[0] == ("attest", "first")
    running.cancel()
    await asyncio.wait({running})


async def test_without_a_token_in_the_file_it_is_said(directory: Path, authority: CertificateAuthority) -> None:
    join = parse(options(directory), {})[0].join
    (directory / "token").unlink()
    keeper = IdentityKeeper(directory / "identity.json", join, Signer(authority), lambda _: None)
    with pytest.raises(IdentityError, match="no service-account token in"):
        await keeper.run()


async def test_over_the_wire_the_token_goes_only_to_who_is_signed_by_the_roots_of_now(directory: Path) -> None:
    """The file had an older authority's roots when the sidecar began."""
    asked: list[str] = []

    class Platform:
        async def attest(self, token: str) -> Attested | NotAttested:
            asked.append(token)
            return Attested(CART, "cart-7c9", "0f-11") if token == "good" else NotAttested("the cluster does not know it")

    csr = (await asyncio.to_thread(new_key))[1]
    with opened_store(directory) as store:
        async with running_mesh(directory, store, attestor=Platform()) as mesh:
            stranger = load_or_create(directory / "stranger", "picket.test").bundle_pem
            (directory / "bundle.pem").write_bytes(stranger)
            join = replace(join_of(mesh), bundle_file=directory / "bundle.pem", token_file=directory / "token")
            assert isinstance(await GrpcCertifier(join).attest("good", csr), Unreachable)
            assert asked == []
            (directory / "bundle.pem").write_bytes(mesh.authority.bundle_pem + stranger)
            answer = await GrpcCertifier(join).attest("good", csr)
            assert isinstance(answer, Issued)
            assert answer.spiffe_id == "spiffe://picket.test/ns/shop/sa/cart"
            (directory / "bundle.pem").unlink()
            assert isinstance(await GrpcCertifier(join).attest("good", csr), Unreachable)
