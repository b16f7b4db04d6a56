"""The manifests that the cluster tests apply, looked at without a cluster: valid, and injected as they would be there."""

from __future__ import annotations

import json
from typing import Any

import kubernetes_validate

from controlplane.kubernetes.injection.review import PodCreation
from tests.cluster.manifests import NAMESPACE, boutique, manifests
from tests.controlplane.kubernetes.injection.reviews import patched

ITEMS: list[dict[str, Any]] = json.loads(manifests("picket:test"))["items"]


def test_they_are_valid() -> None:
    """As far as Kubernetes' schemas know."""
    for item in ITEMS:
        kubernetes_validate.validate(item, "1.37", strict=True)


def test_each_service_has_an_account_of_its_own() -> None:
    """So that each is an identity."""
    names = {service.name.name for service in boutique().topology.services.values()}
    assert {item["metadata"]["name"] for item in ITEMS if item["kind"] == "ServiceAccount"} == names
    accounts = [item["spec"]["template"]["spec"]["serviceAccountName"] for item in ITEMS if item["kind"] == "Deployment"]
    assert sorted(accounts) == sorted(names)


def test_their_pods_can_be_injected() -> None:
    """And stay valid; the Job's too."""
    for item in ITEMS:
        if item["kind"] in {"Deployment", "Job"}:
            template = item["spec"]["template"]
            pod = {
                "apiVersion": "v1",
                "kind": "Pod",
                "metadata": {"name": "x", **template.get("metadata", {})},
                "spec": template["spec"],
            }
            kubernetes_validate.validate(patched(PodCreation("u", NAMESPACE, pod)), "1.37", strict=True)
