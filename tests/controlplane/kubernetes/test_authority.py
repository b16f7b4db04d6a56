"""The authority in a Secret: made once, the same for everybody, refused when it is not one, and never replaced."""

from __future__ import annotations

import asyncio
import base64
from datetime import UTC, datetime

import pytest

from controlplane.identity.authority import AuthorityError, CertificateAuthority
from controlplane.kubernetes.authority import secret_authority
from controlplane.kubernetes.client import Client, KubernetesError
from tests.harness.kubeapi import KubernetesApi

NOW = datetime.now(UTC)


async def authority(api: KubernetesApi, trust_domain: str = "picket.test") -> CertificateAuthority:
    async with Client(api.config()) as client:
        return await secret_authority(client, "picket-ca", trust_domain, NOW)


async def test_it_is_made_once_and_read_from_then_on(api: KubernetesApi, capsys: pytest.CaptureFixture[str]) -> None:
    first = await authority(api)
    kept = api.objects["secrets"]["picket-system/picket-ca"]
    assert kept["type"] == "kubernetes.io/tls"
    assert base64.b64decode(kept["data"]["tls.crt"]) == first.bundle_pem
    assert (await authority(api)).bundle_pem == first.bundle_pem
    assert [method for method, _ in api.requests] == ["GET", "POST", "GET"]
    assert "PRIVATE" not in capsys.readouterr().out


async def test_of_several_that_begin_at_once_all_have_the_same(api: KubernetesApi) -> None:
    found = await asyncio.gather(*(authority(api) for _ in range(5)))
    assert len({one.bundle_pem for one in found}) == 1


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
        await authority(api)
    assert api.objects["secrets"]["picket-system/picket-ca"]["data"] == data


async def test_another_trust_domains_authority_is_not_taken(api: KubernetesApi) -> None:
    await authority(api)
    with pytest.raises(AuthorityError, match=r"not for the trust domain other\.test"):
        await authority(api, "other.test")


async def test_without_the_right_to_it_nothing_begins(api: KubernetesApi) -> None:
    api.refuse["secrets"] = 403
    with pytest.raises(KubernetesError, match="403"):
        await authority(api)
    assert [method for method, _ in api.requests] == ["GET"]
