"""The control plane's identity from a Workload API: the one that sidecars believe, pushed anew, kept while the API is away."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from structlog.testing import capture_logs

from controlplane import workloadapi
from controlplane.identity.authority import CertificateAuthority, load_or_create
from controlplane.workloadapi import NoIdentityError, WorkloadApiIdentity
from tests.harness.directories import short_directory
from tests.harness.mesh import until
from tests.harness.workloadapi import Api, serving, svid

NAME = "picket-controlplane"
CONTROL_PLANE = "spiffe://picket.test/picket/controlplane"


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made


@pytest.fixture
def authority(directory: Path) -> CertificateAuthority:
    return load_or_create(directory / "ca", "picket.test")


@pytest.fixture
async def api(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(workloadapi, "RETRY_SECONDS", 0.05)
    monkeypatch.setattr(workloadapi, "START_SECONDS", 0.5)
    async with serving(directory / "api.sock") as running:
        yield running


@asynccontextmanager
async def running(identity: WorkloadApiIdentity) -> AsyncIterator[None]:
    task = asyncio.create_task(identity.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})


def identity_of(api: Api, hint: str = "", names: tuple[str, ...] = (NAME,)) -> WorkloadApiIdentity:
    return WorkloadApiIdentity(api.target, "picket.test", names, hint)


async def test_it_is_had_shown_and_followed_by_the_next_one(api: Api, authority: CertificateAuthority) -> None:
    api.give([svid(authority, CONTROL_PLANE, dns=(NAME,))])
    identity = identity_of(api)
    await identity.started()
    heard: list[object] = []
    identity.connect(lambda: heard.append(identity.version))
    first = identity.current
    assert identity.bundle_pem == authority.bundle_pem
    assert identity.issue_server((), timedelta(0), datetime.now(UTC)) == (first.key_pem.encode(), first.chain_pem.encode())
    async with running(identity):
        api.give([svid(authority, CONTROL_PLANE, dns=(NAME,))])
        await until(lambda: bool(heard))
        await api.stop()
        await asyncio.sleep(0.2)
        assert identity.current == heard[0] != first, "it is kept while the API is away"
        api.give([svid(authority, CONTROL_PLANE, dns=(NAME,))])
        await api.start()
        await until(lambda: len(heard) == 2)


async def test_an_identity_that_ended_is_a_reason_not_to_be_ready(api: Api, authority: CertificateAuthority) -> None:
    now = datetime.now(UTC).timestamp()
    api.give([svid(authority, CONTROL_PLANE, dns=(NAME,))])
    identity = WorkloadApiIdentity(api.target, "picket.test", (NAME,), clock=lambda: now)
    await identity.started()
    assert identity.why_not_ready() == ""
    now += 3600
    assert "has ended" in identity.why_not_ready()


async def test_the_one_that_has_the_names_is_chosen(api: Api, authority: CertificateAuthority) -> None:
    api.give([svid(authority, "spiffe://picket.test/ns/shop/sa/cart"), svid(authority, CONTROL_PLANE, dns=(NAME, "picket.svc"))])
    identity = identity_of(api, names=(NAME, "picket.svc", NAME))
    await identity.started()
    assert identity.current.spiffe_id == CONTROL_PLANE


async def test_of_several_the_hint_tells(api: Api, authority: CertificateAuthority) -> None:
    other = svid(authority, CONTROL_PLANE, dns=(NAME,))
    other.hint = "outside"
    meant = svid(authority, CONTROL_PLANE, dns=(NAME,))
    meant.hint = "mesh"
    api.give([other, meant])
    identity = identity_of(api, "mesh")
    await identity.started()
    assert identity.current.hint == "mesh"


@pytest.mark.parametrize(
    ("given", "hint", "told"),
    [
        ("none", "", rf"no identity issued; register this process as {CONTROL_PLANE}, in SPIRE: .* -dns {NAME}$"),
        ("away", "", "UNAVAILABLE"),
        ("nonsense", "", "no X509SVIDResponse"),
        ("elsewhere", "", "spiffe://other.test/picket/controlplane is not of the trust domain picket.test; see --trust-domain"),
        ("unnamed", "", rf"lacks the DNS names {NAME}, .*; register this process as {CONTROL_PLANE}"),
        ("good", "mesh", "none of 1 identities has the hint 'mesh'; see --svid-hint"),
        ("two", "", "several identities could be the control plane's"),
        ("ended", "", "look at this machine's clock"),
    ],
)
async def test_without_the_right_one_it_does_not_start_and_says_what_to_do(
    api: Api, authority: CertificateAuthority, given: str, hint: str, told: str
) -> None:
    good = svid(authority, CONTROL_PLANE, dns=(NAME,))
    if given == "away":
        await api.stop()
    elif given == "nonsense":
        api.give(b"\xff")
    elif given == "elsewhere":
        other = load_or_create(api.path.with_name("other"), "other.test")
        api.give([svid(other, "spiffe://other.test/picket/controlplane", dns=(NAME,))])
    elif given == "two":
        api.give([good, svid(authority, "spiffe://picket.test/ns/shop/sa/cart", dns=(NAME,))])
    elif given == "unnamed":
        api.give([svid(authority, CONTROL_PLANE, dns=("other",))])
    elif given == "ended":
        api.give([svid(authority, CONTROL_PLANE, dns=(NAME,), lifetime=timedelta(seconds=-5))])
    elif given == "good":
        api.give([good])
    with capture_logs() as logs, pytest.raises(NoIdentityError, match=told):
        await identity_of(api, hint).started()
    assert logs[0]["event"] == "no identity from the Workload API"
