"""The webhook configuration's trust, against an HTTP server that speaks the API: put in, put back, and nothing else touched."""

from __future__ import annotations

import asyncio
import base64
from collections.abc import Iterator

import pytest

from controlplane.kubernetes import cabundle
from controlplane.kubernetes.cabundle import CaBundle
from controlplane.kubernetes.client import Client, KubernetesError
from tests.harness.kubeapi import Json, KubernetesApi, running_api
from tests.harness.mesh import until

NAME = "picket-injection"


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    """With a configuration as the chart makes it."""
    with running_api() as made:
        made.put("mutatingwebhookconfigurations", NAME, configuration())
        yield made


def configuration() -> Json:
    """Two webhooks, without a bundle."""
    service = {"name": "picket", "namespace": "picket-system", "path": "/inject", "port": 443}
    return {"webhooks": [{"name": f"{name}.picket.dev", "clientConfig": {"service": service}} for name in ("namespace", "pod")]}


def bundles(api: KubernetesApi) -> list[str]:
    """What the API server would trust."""
    held = api.objects["mutatingwebhookconfigurations"][f"/{NAME}"]
    return [base64.b64decode(webhook["clientConfig"].get("caBundle", "")).decode() for webhook in held["webhooks"]]


async def test_the_bundle_is_put_in_and_kept(api: KubernetesApi) -> None:
    """Once; again when an upgrade wrote the configuration anew, and when the authority is another."""
    roots = [b"first"]
    async with Client(api.config()) as client:
        bundle = CaBundle(client, NAME, lambda: roots[0])
        assert await bundle.keep()
        assert bundles(api) == ["first", "first"]
        assert not await bundle.keep()
        assert api.asked(NAME) == 3
        changed = configuration()
        changed["webhooks"][0]["clientConfig"]["caBundle"] = base64.b64encode(b"first").decode()
        api.put("mutatingwebhookconfigurations", NAME, changed)
        assert await bundle.keep()
        assert bundles(api) == ["first", "first"]
        roots[0] = b"second"
        assert await bundle.keep()
    assert bundles(api) == ["second", "second"]
    held = api.objects["mutatingwebhookconfigurations"][f"/{NAME}"]
    assert [webhook["clientConfig"]["service"]["path"] for webhook in held["webhooks"]] == ["/inject", "/inject"]


async def test_other_roots_are_there_at_once(api: KubernetesApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """The API server is to trust the next authority before anything is signed by it."""
    monkeypatch.setattr(cabundle, "LOOK_SECONDS", 3600.0)
    roots = [b"old"]
    async with Client(api.config()) as client:
        bundle = CaBundle(client, NAME, lambda: roots[-1])
        running = asyncio.create_task(bundle.run())
        await until(lambda: bundles(api) == ["old", "old"])
        roots.append(b"old, new")
        bundle.changed()
        await until(lambda: bundles(api) == ["old, new", "old, new"])
        running.cancel()


async def test_what_cannot_be_is_told(api: KubernetesApi) -> None:
    """No such configuration, and no right to change it."""
    async with Client(api.config()) as client:
        with pytest.raises(KubernetesError, match="404"):
            await CaBundle(client, "another", lambda: b"x").keep()
        api.refuse["mutatingwebhookconfigurations"] = 403
        with pytest.raises(KubernetesError, match="403"):
            await CaBundle(client, NAME, lambda: b"x").keep()
