"""What is taken out of a cluster, against an HTTP server that speaks the API: all that is Picket's, and nothing that is in use."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controlplane.kubernetes.client import Client, KubernetesError
from controlplane.kubernetes.leaving import Cleaned, remove_authority, remove_bundles, stop_injection, with_sidecars
from tests.harness.kubeapi import KubernetesApi, running_api
from tests.harness.kubeobjects import pod

BUNDLE = "picket-trust-bundle"


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    """Roots in three namespaces, in one of which pods still have sidecars; and what is somebody else's."""
    with running_api() as made:
        made.put("mutatingwebhookconfigurations", "picket-system-picket", {"webhooks": []})
        made.put("mutatingwebhookconfigurations", "other", {"webhooks": []})
        for namespace in ("shop", "web", "picket-system"):
            made.put("configmaps", BUNDLE, {"data": {}}, namespace)
        made.put("configmaps", "settings", {"data": {}}, "web")
        made.put("secrets", "picket-ca", {"data": {}}, "picket-system")
        made.put("pods", "cart-1", pod("cart-1", "10.1.0.1"), "shop")
        made.put("pods", "cart-2", pod("cart-2", "10.1.0.2"), "shop")
        made.put("pods", "done", pod("done", "10.1.0.3", phase="Succeeded"), "web")
        made.put("pods", "bare", pod("bare", "10.1.0.4", sidecar=False), "web")
        made.page = 2
        yield made


async def test_the_webhook_goes_and_no_other(api: KubernetesApi) -> None:
    async with Client(api.config()) as client:
        assert await stop_injection(client, "picket-system-picket")
        assert not await stop_injection(client, "picket-system-picket")
    assert list(api.objects["mutatingwebhookconfigurations"]) == ["/other"]


async def test_roots_stay_where_pods_mount_them(api: KubernetesApi) -> None:
    """Pods that are done, and those without a sidecar, mount none; in the second run nothing is left to do but there."""
    async with Client(api.config()) as client:
        assert await with_sidecars(client) == {"shop": 2}
        assert await remove_bundles(client) == Cleaned(("picket-system", "web"), {"shop": 2})
        assert await remove_bundles(client) == Cleaned((), {"shop": 2})
        for name in ("cart-1", "cart-2"):
            api.delete("pods", name, "shop")
        assert await remove_bundles(client) == Cleaned(("shop",), {})
    assert list(api.objects["configmaps"]) == ["web/settings"]
    assert "picket-system/picket-ca" in api.objects["secrets"]


async def test_the_authority_goes_when_it_is_named(api: KubernetesApi) -> None:
    async with Client(api.config()) as client:
        assert await remove_authority(client, "picket-ca")
        assert not await remove_authority(client, "picket-ca")


async def test_what_may_not_be_removed_is_told(api: KubernetesApi) -> None:
    api.refuse["/configmaps/"] = 403
    api.refuse["/mutatingwebhookconfigurations/"] = 403
    async with Client(api.config()) as client:
        for asked in (remove_bundles(client), stop_injection(client, "picket-system-picket")):
            with pytest.raises(KubernetesError, match="403"):
                await asked
