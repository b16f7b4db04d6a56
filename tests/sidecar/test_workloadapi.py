"""An identity from a Workload API on a Unix socket: pushed when it changes, kept while the API is away, never somebody else's."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from datetime import timedelta
from pathlib import Path

import grpc
import pytest

from controlplane.identity.authority import CertificateAuthority, load_or_create
from protos.spiffe import client
from protos.spiffe.endpoint import MAX_ANSWER_BYTES
from sidecar import workloadapi
from sidecar.identity import Identity, load
from sidecar.join import WorkloadApiAddress
from sidecar.workloadapi import WorkloadApi
from tests.harness.directories import short_directory
from tests.harness.workloadapi import Api, serving, svid
from tests.sidecar.joins import join
from tests.sidecar.waiting import until

CART, WEB = "spiffe://picket.test/ns/shop/sa/cart", "spiffe://picket.test/ns/shop/sa/web"


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made


@pytest.fixture
def authority(directory: Path) -> CertificateAuthority:
    return load_or_create(directory / "ca", "picket.test")


@pytest.fixture
async def api(directory: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Api]:
    monkeypatch.setattr(workloadapi, "FIRST_RETRY_SECONDS", 0.05)
    monkeypatch.setattr(workloadapi, "MOST_RETRY_SECONDS", 0.1)
    async with serving(directory / "api.sock") as running:
        yield running


def source(api: Api, used: list[Identity], hint: str = "") -> WorkloadApi:
    """What is tested, as shop/cart."""
    joined = join(workload_api=WorkloadApiAddress(api.target, hint), enrollment="", token="", bundle_pem="")
    return WorkloadApi(api.path.with_name("identity.json"), joined, used.append)


@asynccontextmanager
async def running(tested: WorkloadApi) -> AsyncIterator[None]:
    """It runs; what it ends by is raised."""
    task = asyncio.create_task(tested.run())
    try:
        yield
        assert not task.done()
    finally:
        task.cancel()
        await asyncio.wait({task})
        if not task.cancelled():
            task.result()


async def test_an_identity_is_had_kept_on_disk_and_followed_by_the_next_one(api: Api, authority: CertificateAuthority) -> None:
    used: list[Identity] = []
    tested = source(api, used)
    assert not tested.restore()
    api.give([svid(authority, CART)])
    async with running(tested):
        await until(lambda: len(used) == 1)
        api.give([svid(authority, CART)])
        await until(lambda: len(used) == 2)
    assert api.asked == 1, "rotation comes by the stream that is there"
    assert used[1].spiffe_id == CART
    assert used[1].key_pem != used[0].key_pem
    assert used[1].bundle_pem == authority.bundle_pem.decode()
    assert load(api.path.with_name("identity.json"), CART) == used[1] == tested.current
    again: list[Identity] = []
    assert source(api, again).restore()
    assert again == [used[1]]


async def test_other_roots_alone_are_something_new_and_the_same_answer_is_not(api: Api, authority: CertificateAuthority) -> None:
    used: list[Identity] = []
    given = svid(authority, CART)
    api.give([given])
    other = load_or_create(api.path.with_name("other-ca"), "picket.test")
    async with running(source(api, used)):
        await until(lambda: len(used) == 1)
        api.give([given, svid(authority, WEB)])
        given = given.__deepcopy__()
        given.bundle += svid(other, CART).bundle
        api.give([given])
        await until(lambda: len(used) == 2)
    assert used[1].chain_pem == used[0].chain_pem
    assert used[1].bundle_pem == (authority.bundle_pem + other.bundle_pem).decode()
    assert used[1].version == used[0].version, "Envoy has this certificate already"


async def test_while_the_api_is_away_the_last_identity_is_kept_and_the_next_is_had_when_it_is_back(
    api: Api, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    used: list[Identity] = []
    tested = source(api, used)
    api.give([svid(authority, CART)])
    async with running(tested):
        await until(lambda: len(used) == 1)
        await api.stop()
        await until(lambda: "UNAVAILABLE" in caplog.text)
        assert tested.current == used[0]
        api.give([svid(authority, CART)])
        await api.start()
        await until(lambda: len(used) == 2)


async def test_who_is_not_registered_is_told_what_to_register_and_gets_it_then(
    api: Api, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    used: list[Identity] = []
    async with running(source(api, used)):
        await until(lambda: "PERMISSION_DENIED: no identity issued" in caplog.text)
        assert f"spire-server entry create -spiffeID {CART}" in caplog.text
        assert not used
        api.give([svid(authority, CART)])
        await until(lambda: len(used) == 1)


async def test_an_identity_that_is_taken_back_is_used_until_it_ends(
    api: Api, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    used: list[Identity] = []
    tested = source(api, used)
    api.give([svid(authority, CART, lifetime=timedelta(seconds=3))])
    async with running(tested):
        await until(lambda: len(used) == 1)
        api.give(grpc.StatusCode.PERMISSION_DENIED)
        await until(lambda: "PERMISSION_DENIED" in caplog.text)
        assert tested.current == used[0]
        await until(lambda: f"identity expired id={CART}" in caplog.text)
        assert len(used) == 1
    assert caplog.text.count("identity expired") == 1
    assert not source(api, used).restore(), "what has ended is not taken from disk"


async def test_of_several_identities_the_one_of_this_workload_is_used(api: Api, authority: CertificateAuthority) -> None:
    used: list[Identity] = []
    api.give([svid(authority, WEB), svid(authority, CART)])
    async with running(source(api, used)):
        await until(lambda: used)
    assert used[0].spiffe_id == CART


async def test_of_several_that_are_this_workload_the_hint_tells(api: Api, authority: CertificateAuthority) -> None:
    used: list[Identity] = []
    meant = svid(authority, CART, hint="mesh")
    api.give([svid(authority, CART, hint="outside"), meant])
    async with running(source(api, used, "mesh")):
        await until(lambda: used)
    assert used[0].not_after_seconds
    first: list[Identity] = []
    async with running(source(api, first)):
        await until(lambda: first)
    assert first[0].key_pem != used[0].key_pem, "without a hint the first counts, which is the default identity"


@pytest.mark.parametrize(
    ("hint", "said"),
    [
        ("", f"it gave {WEB}, and not {CART}; register this process as {CART}"),
        ("mesh", f"what it gave for {CART} has the hint none, and not 'mesh'; see --svid-hint"),
    ],
)
async def test_no_other_identity_is_used_in_its_place(
    api: Api, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture, hint: str, said: str
) -> None:
    used: list[Identity] = []
    api.give([svid(authority, CART if hint else WEB)])
    async with running(source(api, used, hint)):
        await until(lambda: said in caplog.text)
        assert not used
        api.give([svid(authority, CART, hint="mesh")])
        await until(lambda: used)


async def test_an_answer_that_cannot_be_read_or_has_ended_is_told_and_the_last_is_kept(
    api: Api, authority: CertificateAuthority, caplog: pytest.LogCaptureFixture
) -> None:
    used: list[Identity] = []
    tested = source(api, used)
    api.give([svid(authority, CART)])
    async with running(tested):
        await until(lambda: len(used) == 1)
        api.give(b"\xff\xff")
        await until(lambda: "the answer is no X509SVIDResponse" in caplog.text)
        api.give([svid(authority, CART, lifetime=timedelta(seconds=-5))])
        await until(lambda: "look at this machine's clock" in caplog.text)
        api.give(b"\0" * (MAX_ANSWER_BYTES + 1))
        await until(lambda: "RESOURCE_EXHAUSTED" in caplog.text)
        assert tested.current == used[0]
    assert used[0].key_pem not in caplog.text


async def test_an_api_that_says_nothing_is_away(
    api: Api, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(client, "FIRST_ANSWER_SECONDS", 0.05)
    await api.stop()
    taken: list[asyncio.StreamWriter] = []
    silent = await asyncio.start_unix_server(lambda _reader, writer: taken.append(writer), api.path)
    async with silent:
        async with running(source(api, [])):
            await until(lambda: caplog.text.count("no answer in 0.05 seconds") >= 2)
        for writer in taken:
            writer.close()
