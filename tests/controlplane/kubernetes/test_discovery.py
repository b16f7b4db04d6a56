"""Discovery: nothing is declared before all is known, and afterwards each state of the cluster that says something else."""

from __future__ import annotations

import asyncio
import itertools
from collections.abc import Iterator

import pytest

from controlplane.kubernetes import watch
from controlplane.kubernetes.client import Client
from controlplane.kubernetes.discovery import Discovery
from controlplane.kubernetes.topology import Found
from tests.harness.kubeapi import KubernetesApi, running_api
from tests.harness.kubeobjects import endpoints, namespace, pod, service
from tests.harness.mesh import until


@pytest.fixture
def api(monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    monkeypatch.setattr(watch, "FIRST_PAUSE_SECONDS", 0.001)
    monkeypatch.setattr(watch, "LONGEST_PAUSE_SECONDS", 0.01)
    with running_api() as running:
        running.put("namespaces", "shop", namespace("shop", injection="enabled"))
        running.put("serviceaccounts", "cart", {}, "shop")
        running.put("services", "cart", service("cart", [{"name": "http", "port": 80}]), "shop")
        running.put("endpointslices", "cart-abc", endpoints("cart", {"cart-1": "10.1.0.1"}, {"http": 8080}), "shop")
        running.put("pods", "cart-1", pod("cart-1", "10.1.0.1"), "shop")
        yield running


async def test_nothing_is_declared_before_all_is_known_and_then_only_what_is_news(
    api: KubernetesApi, capsys: pytest.CaptureFixture[str]
) -> None:
    declared: list[Found] = []

    async def declare(found: Found) -> None:
        declared.append(found)

    api.refuse["serviceaccounts"] = 403
    async with Client(api.config()) as client:
        discovery = Discovery(client, declare, gather_seconds=0.001)
        running = asyncio.create_task(discovery.run())
        await until(lambda: api.asked("/serviceaccounts") >= 3 and api.asked("/pods?watch") >= 1)
        assert declared == []
        assert not discovery.known.is_set()
        del api.refuse["serviceaccounts"]
        await until(discovery.known.is_set)
        assert [str(name) for name in declared[-1].topology.services] == ["shop/cart"]
        api.put("pods", "cart-1", pod("cart-1", "10.1.0.1", labels={"says": "nothing"}), "shop")
        api.put("serviceaccounts", "web", {}, "shop")
        api.put("pods", "web-1", pod("web-1", "10.1.0.2", "web"), "shop")
        await until(lambda: len(declared[-1].topology.services) == 2)
        assert all(before != after for before, after in itertools.pairwise(declared))
        assert discovery.found is declared[-1]
        api.delete("serviceaccounts", "cart", "shop")
        await until(lambda: bool(declared[-1].gaps.notes))
        api.put("pods", "web-2", pod("web-2", "10.1.0.3", "web"), "shop")
        await until(lambda: ("shop/web", "web-2") in declared[-1].images)
        running.cancel()
        await asyncio.wait({running})
    assert capsys.readouterr().out.count("shop/cart: the service account is gone") == 1
