"""The trust bundle in each namespace: made, put right when somebody changes it, made anew with the roots, and nothing else."""

from __future__ import annotations

import asyncio

import pytest

from controlplane.kubernetes import bundles
from controlplane.kubernetes.bundles import TrustBundles
from controlplane.kubernetes.client import Client, KubernetesError
from tests.harness.kubeapi import KubernetesApi
from tests.harness.mesh import until


def held(api: KubernetesApi, namespace: str) -> object:
    found = api.objects.get("configmaps", {}).get(f"{namespace}/picket-trust-bundle")
    return None if found is None else found["data"]


async def test_it_is_made_once_and_put_right_when_it_was_changed(api: KubernetesApi) -> None:
    roots = b"first"
    async with Client(api.config()) as client:
        kept = TrustBundles(client, lambda: roots)
        assert await kept.keep("shop")
        assert held(api, "shop") == {"bundle.pem": "first"}
        assert not await kept.keep("shop")
        api.put("configmaps", "picket-trust-bundle", {"data": {"bundle.pem": "a stranger's", "more": "x"}}, "shop")
        assert await kept.keep("shop")
        assert held(api, "shop") == {"bundle.pem": "first"}
        roots = b"first and second"
        assert await kept.keep("shop")
        assert held(api, "shop") == {"bundle.pem": "first and second"}
    assert {path.split("?")[0] for _, path in api.requests} == {
        "/api/v1/namespaces/shop/configmaps", "/api/v1/namespaces/shop/configmaps/picket-trust-bundle",
    }  # fmt: skip


async def test_of_two_that_write_at_once_one_is_told(api: KubernetesApi) -> None:
    async with Client(api.config()) as client:
        api.refuse["configmaps"] = 409
        with pytest.raises(KubernetesError):
            await TrustBundles(client, lambda: b"x").keep("shop")


async def test_a_namespace_that_is_new_has_it_at_once_and_a_failure_is_tried_again(
    api: KubernetesApi, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bundles, "RETRY_SECONDS", 0.001)
    async with Client(api.config()) as client:
        kept = TrustBundles(client, lambda: b"roots")
        running = asyncio.create_task(kept.run())
        kept.want(["shop"])
        await until(lambda: held(api, "shop") is not None)
        api.refuse["namespaces/bank"] = 403
        kept.want(["shop", "bank"])
        await until(lambda: api.asked("namespaces/bank") >= 3)
        del api.refuse["namespaces/bank"]
        await until(lambda: held(api, "bank") == {"bundle.pem": "roots"})
        running.cancel()
        await asyncio.wait({running})


async def test_all_are_looked_at_again_after_a_while(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(bundles, "LOOK_SECONDS", 0.001)
    async with Client(api.config()) as client:
        kept = TrustBundles(client, lambda: b"roots")
        kept.want(["shop"])
        running = asyncio.create_task(kept.run())
        await until(lambda: held(api, "shop") is not None)
        api.delete("configmaps", "picket-trust-bundle", "shop")
        await until(lambda: held(api, "shop") is not None)
        running.cancel()
        await asyncio.wait({running})


async def test_other_roots_are_written_at_once(api: KubernetesApi) -> None:
    roots = [b"old"]
    async with Client(api.config()) as client:
        kept = TrustBundles(client, lambda: roots[-1])
        running = asyncio.create_task(kept.run())
        kept.want(["shop"])
        await until(lambda: held(api, "shop") == {"bundle.pem": "old"})
        roots.append(b"new, old")
        kept.changed()
        await until(lambda: held(api, "shop") == {"bundle.pem": "new, old"})
        running.cancel()
