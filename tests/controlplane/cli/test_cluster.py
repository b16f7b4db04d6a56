"""`picket cluster`, against an HTTP server that speaks the API: what it says to whoever removes Picket."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.controlplane.cli.conftest import Picket
from tests.controlplane.kubernetes.test_running import kubeconfig
from tests.harness.kubeapi import KubernetesApi, running_api
from tests.harness.kubeobjects import pod


@pytest.fixture
def api(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[KubernetesApi]:
    """A cluster that KUBECONFIG leads to."""
    with running_api() as made:
        made.put("mutatingwebhookconfigurations", "picket-system-picket", {"webhooks": []})
        made.put("configmaps", "picket-trust-bundle", {"data": {}}, "shop")
        made.put("configmaps", "picket-trust-bundle", {"data": {}}, "web")
        made.put("pods", "cart-1", pod("cart-1", "10.1.0.1"), "shop")
        made.put("secrets", "picket-ca", {"data": {}}, "picket-system")
        monkeypatch.setenv("KUBECONFIG", str(kubeconfig(tmp_path, made.url, "picket-system")))
        yield made


def test_whoever_stops_injection_is_told_which_pods_have_sidecars(api: KubernetesApi, picket: Picket) -> None:
    told = picket("cluster", "stop-injection", "picket-system-picket")
    assert (told.code, told.err) == (0, "")
    assert "picket-system-picket: removed; no pod is given a sidecar any more\n1 pod has one: shop (1)\n" in told.out
    assert told.out.endswith("\n  kubectl rollout restart -n shop deployment,statefulset,daemonset\n")
    api.delete("pods", "cart-1", "shop")
    again = picket("cluster", "stop-injection", "picket-system-picket").out
    assert again == "picket-system-picket: not there; no pod is given a sidecar any more\nno pod has a sidecar\n"


def test_whoever_cleans_is_told_what_stays_and_what_to_do(api: KubernetesApi, picket: Picket) -> None:
    told = picket("cluster", "clean")
    assert told.out.startswith("picket-trust-bundle: removed from 1 namespace\nKept where pods with a sidecar mount it: shop (1).")
    assert told.out.endswith("\n  kubectl delete configmap -n shop picket-trust-bundle\n")
    api.delete("pods", "cart-1", "shop")
    assert picket("cluster", "clean", "--ca-secret", "picket-ca").out.endswith("removed from 1 namespace\npicket-ca: removed\n")
    assert api.objects["configmaps"] == {}


def test_a_cluster_that_refuses_is_an_error(api: KubernetesApi, picket: Picket) -> None:
    api.refuse["/mutatingwebhookconfigurations/"] = 403
    told = picket("cluster", "stop-injection", "picket-system-picket")
    assert (told.code, told.out) == (1, "")
    assert "403" in told.err
