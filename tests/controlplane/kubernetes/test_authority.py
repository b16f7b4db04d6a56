"""The authority in a Secret: made once, the same for everybody, rotated by one at a time, refused when it is not one."""

from __future__ import annotations

import asyncio
import base64
import json
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from controlplane.identity.authority import AuthorityError, CertificateAuthority, new_authority
from controlplane.identity.custody import CustodyError, Kept, Overtaken, encode
from controlplane.identity.generations import Generations, Impossible, Step, activate, covering, key_id, prepare, retire
from controlplane.identity.mesh import MeshAuthority
from controlplane.identity.schedule import Terms
from controlplane.kubernetes.authority import AuthoritySecret
from controlplane.kubernetes.client import Client
from controlplane.store.sql import SqlStore, open_store
from controlplane.workflow.revisions import Refused
from controlplane.workflow.rotation import Rotation
from tests.harness.authorities import openssl_believes
from tests.harness.kubeapi import Json, KubernetesApi

HOUR = timedelta(hours=1)


async def load(api: KubernetesApi, trust_domain: str = "picket.test") -> Kept:
    async with Client(api.config()) as client:
        return await AuthoritySecret(client, "picket-ca", trust_domain).load()


async def save(api: KubernetesApi, generations: Generations | Impossible, before: Kept) -> Kept | Overtaken:
    assert isinstance(generations, Generations)
    async with Client(api.config()) as client:
        return await AuthoritySecret(client, "picket-ca", "picket.test").save(generations, before)


def secret(api: KubernetesApi) -> Json:
    return api.objects["secrets"]["picket-system/picket-ca"]


def entry(api: KubernetesApi, name: str) -> bytes:
    return base64.b64decode(secret(api)["data"][name])


async def test_it_is_made_once_and_read_from_then_on(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    first = await load(api)
    assert secret(api)["type"] == "kubernetes.io/tls"
    assert entry(api, "tls.crt") == first.generations.bundle_pem
    assert (await load(api)).generations.bundle_pem == first.generations.bundle_pem
    assert [method for method, _ in api.requests] == ["GET", "POST", "GET"]
    assert "PRIVATE" not in capsys.readouterr().out


async def test_of_several_that_begin_at_once_all_have_the_same(api: KubernetesApi) -> None:
    found = await asyncio.gather(*(load(api) for _ in range(5)))
    assert len({one.generations.bundle_pem for one in found}) == 1


@pytest.mark.parametrize(
    ("data", "told"),
    [
        (None, "not both in it"),
        ({"tls.crt": "!"}, "not both in it"),
        ({"tls.crt": "eA==", "tls.key": "eA=="}, "cannot be used"),
    ],
)
async def test_what_is_no_authority_is_told_and_stays(api: KubernetesApi, data: dict[str, str] | None, told: str) -> None:
    api.put("secrets", "picket-ca", {"data": data}, "picket-system")
    with pytest.raises(AuthorityError, match=f"the Secret picket-system/picket-ca: .*{told}"):
        await load(api)
    assert secret(api)["data"] == data


async def test_another_trust_domains_authority_is_not_taken(api: KubernetesApi) -> None:
    await load(api)
    with pytest.raises(AuthorityError, match=r"not for the trust domain other\.test"):
        await load(api, "other.test")


async def test_without_the_right_to_it_nothing_begins(api: KubernetesApi) -> None:
    api.refuse["secrets"] = 403
    with pytest.raises(CustodyError, match="403"):
        await load(api)
    assert [method for method, _ in api.requests] == ["GET"]


async def test_a_whole_rotation_is_kept_beside_what_others_wrote(api: KubernetesApi) -> None:
    """`tls.crt` and `tls.key` are always who signs; labels, and entries that are not Picket's, stay."""
    first = await load(api)
    held = {"tls.crt": secret(api)["data"]["tls.crt"], "tls.key": secret(api)["data"]["tls.key"], "note": "bWluZQ=="}
    api.put("secrets", "picket-ca", {**secret(api), "data": held, "metadata": {"labels": {"team": "mesh"}}}, "picket-system")
    kept = await load(api)
    assert not kept.complete
    now = datetime.now(UTC)

    prepared = await save(api, prepare(covering(kept.generations, HOUR), now, 365 * 24 * HOUR), kept)
    assert isinstance(prepared, Kept)
    assert prepared.complete
    assert entry(api, "tls.crt") == first.generations.bundle_pem
    assert {"prepared.crt", "prepared.key", "bundle.crt", "rotation.json", "note"} <= secret(api)["data"].keys()

    activated = await save(api, activate(prepared.generations, now), prepared)
    assert isinstance(activated, Kept)
    assert prepared.generations.prepared is not None
    assert entry(api, "tls.crt") == prepared.generations.prepared.authority.bundle_pem
    assert "prepared.key" not in secret(api)["data"]
    assert encode((await load(api)).generations) == encode(activated.generations)

    retired = await save(api, retire(activated.generations), activated)
    assert isinstance(retired, Kept)
    assert (await load(api)).generations.bundle_pem == entry(api, "tls.crt")
    assert (secret(api)["metadata"]["labels"], entry(api, "note")) == ({"team": "mesh"}, b"mine")
    assert sum(b"PRIVATE KEY" in base64.b64decode(value) for value in secret(api)["data"].values()) == 1


async def test_of_two_that_take_a_step_at_once_one_does(api: KubernetesApi) -> None:
    kept = await load(api)
    now = datetime.now(UTC)
    outcomes = await asyncio.gather(*(save(api, prepare(kept.generations, now, HOUR), kept) for _ in range(4)))
    won = [outcome for outcome in outcomes if isinstance(outcome, Kept)]
    assert len(won) == 1
    assert encode((await load(api)).generations) == encode(won[0].generations)


async def test_a_secret_that_may_not_be_written_is_told(api: KubernetesApi) -> None:
    kept = await load(api)
    api.refuse["secrets"] = 403
    with pytest.raises(CustodyError, match="403"):
        await save(api, kept.generations, kept)


async def test_what_cert_manager_renewed_while_nobody_ran_is_followed_and_the_root_before_is_trusted_on(api: KubernetesApi) -> None:
    """It replaces certificate and key in place, and knows nothing of what is signed already."""
    kept = await load(api)
    await save(api, covering(kept.generations, HOUR), kept)
    made = renewed(api)
    found = await load(api)
    assert (found.keeper, found.complete) == ("cert-manager", False)
    assert [key_id(root) for root in found.generations.roots] == [
        key_id(made.certificate), key_id(kept.generations.active.certificate),
    ]  # fmt: skip
    assert isinstance(await save(api, found.generations, found), Kept)
    assert (await load(api)).complete
    assert json.loads(entry(api, "rotation.json"))["longest_seconds"] == 3600


def renewed(api: KubernetesApi) -> CertificateAuthority:
    """What cert-manager does when it renews the certificate with a new key."""
    made = new_authority("picket.test", datetime.now(UTC), 365 * 24 * HOUR)
    data = secret(api)["data"] | {
        "tls.crt": base64.b64encode(made.bundle_pem).decode(), "tls.key": base64.b64encode(made.key.private_bytes(
            Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption(),
        )).decode(),
    }  # fmt: skip
    annotations = {"cert-manager.io/certificate-name": "picket-authority"}
    api.put("secrets", "picket-ca", {**secret(api), "data": data, "metadata": {"annotations": annotations}}, "picket-system")
    return made


@asynccontextmanager
async def rotating(
    api: KubernetesApi, store: SqlStore, clock: Callable[[], datetime]
) -> AsyncIterator[tuple[Rotation, MeshAuthority]]:
    """One control plane's part."""
    terms = Terms(365 * 24 * HOUR, 30 * 24 * HOUR, 24 * HOUR)
    async with Client(api.config()) as client:
        custody = AuthoritySecret(client, "picket-ca", "picket.test", terms.lifetime, clock)
        kept = await custody.load()
        authority = MeshAuthority(kept.generations)
        yield Rotation(custody, kept, authority, store, terms, HOUR, clock), authority


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path}/picket.db")
    yield opened
    opened.close()


def ids(authority: MeshAuthority) -> list[str]:
    return [key_id(root) for root in authority.generations.roots]


async def test_what_cert_manager_renews_is_trusted_first_and_signs_later_and_its_entries_stay(
    api: KubernetesApi, store: SqlStore
) -> None:
    """Where a control plane runs meanwhile: it has the key of before, and so can vouch for the new one."""
    now = datetime.now(UTC) - timedelta(minutes=5)  # OpenSSL looks at a clock that no test moves
    async with rotating(api, store, lambda: now) as (rotation, authority):
        await rotation.look()
        old = authority.generations.active
        made = renewed(api)
        written = dict(secret(api)["data"])
        await rotation.look()
        assert ids(authority) == [key_id(old.certificate), key_id(made.certificate)]
        assert secret(api)["data"] == written

        now += timedelta(minutes=3)
        await rotation.look()
        assert ids(authority) == [key_id(made.certificate), key_id(old.certificate)]
        assert openssl_believes(old.bundle_pem, *authority.issue_server(("localhost",), HOUR, datetime.now(UTC)))
        assert (secret(api)["data"]["tls.key"], secret(api)["data"]["tls.crt"]) == (written["tls.key"], written["tls.crt"])
        assert "chain.crt" in secret(api)["data"]

        now += 2 * HOUR
        await rotation.look()
        assert ids(authority) == [key_id(made.certificate)]
        refused = await rotation.take(Step.PREPARE, "alice", "", now=False)
        assert isinstance(refused, Refused)
        assert "cert-manager" in refused.reason
    assert [event.action for event in store.audit(5)] == ["authority:retire", "authority:activate"]


async def test_two_control_planes_rotate_one_secret_together(api: KubernetesApi, store: SqlStore) -> None:
    now = datetime.now(UTC)
    async with rotating(api, store, lambda: now) as (one, first), rotating(api, store, lambda: now) as (two, second):
        await asyncio.gather(one.look(), two.look())
        now += 340 * 24 * HOUR
        for roots in (2, 2, 1):
            await asyncio.gather(one.look(), two.look())
            await asyncio.gather(one.look(), two.look())
            assert ids(first) == ids(second)
            assert len(ids(first)) == roots
            now += 2 * HOUR
    assert len(store.audit(10)) == 3


async def test_what_something_else_takes_out_of_the_secret_is_put_back(api: KubernetesApi, store: SqlStore) -> None:
    """A tool that synchronises Secrets knows of two entries: the old root stays trusted all the same."""
    now = datetime.now(UTC)
    async with rotating(api, store, lambda: now) as (rotation, authority):
        await rotation.look()
        await rotation.take(Step.PREPARE, "alice", "", now=False)
        await rotation.take(Step.ACTIVATE, "alice", "", now=False)
        before = dict(secret(api)["data"])
        kept = {name: before[name] for name in ("tls.crt", "tls.key")}
        api.put("secrets", "picket-ca", {**secret(api), "data": kept}, "picket-system")
        await rotation.look()
        assert len(ids(authority)) == 2
        assert secret(api)["data"] == before


async def test_what_something_else_put_back_signs_again_only_once_it_is_trusted(api: KubernetesApi, store: SqlStore) -> None:
    """Also the root that was retired, by a tool that knows no other: the mesh goes back to it in the same steps."""
    now = datetime.now(UTC)
    async with rotating(api, store, lambda: now) as (rotation, authority):
        await rotation.look()
        original = dict(secret(api)["data"])
        for step in Step:
            assert not isinstance(await rotation.take(step, "alice", "", now=False), Refused)
        (second,) = ids(authority)
        kept = {name: original[name] for name in ("tls.crt", "tls.key")}
        api.put("secrets", "picket-ca", {**secret(api), "data": kept}, "picket-system")
        await rotation.look()
        assert ids(authority)[0] == second
        assert len(ids(authority)) == 2
        now += timedelta(minutes=3)
        await rotation.look()
        assert ids(authority)[1] == second
