"""Pods: for what they were made, what runs in them, and why one has no sidecar."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from controlplane.kubernetes.objects import Pod
from controlplane.kubernetes.pods import images_of, is_injected, owner_of, why_unmeshed
from tests.harness.kubeobjects import digest, pod


def read(name: str = "cart-7c9-x2x", **given: Any) -> Pod:
    return msgspec.convert(pod(name, "10.1.0.1", **given), Pod)


@pytest.mark.parametrize(
    ("owner", "labels", "found"),
    [
        (("ReplicaSet", "cart-7c9"), {"pod-template-hash": "7c9"}, "Deployment/cart"),
        (("ReplicaSet", "cart-7c9"), {"pod-template-hash": "other"}, "ReplicaSet/cart-7c9"),
        (("ReplicaSet", "cart"), {}, "ReplicaSet/cart"),
        (("StatefulSet", "db"), {}, "StatefulSet/db"),
        (("DaemonSet", "agent"), {}, "DaemonSet/agent"),
        (("Job", "import"), {}, "Job/import"),
        (("Job", "report-29384712"), {}, "CronJob/report"),
        (("Node", "node-1"), {}, "Node/node-1"),
        (None, {}, "Pod/cart-7c9-x2x"),
    ],
)
def test_a_workload_is_what_its_pods_were_made_for(owner: tuple[str, str] | None, labels: dict[str, str], found: str) -> None:
    assert owner_of(read(owner=owner, labels=labels)) == found


def test_images_are_kept_by_their_digests_without_the_sidecars() -> None:
    assert images_of(read()) == (("server", digest("cart")),)


@pytest.mark.parametrize("native", [True, False])
def test_a_sidecar_is_known_by_its_container(native: bool) -> None:
    assert is_injected(read(native=native))
    assert not is_injected(read(sidecar=False))


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({"hostNetwork": True}, "the host's network"),
        ({"labels": {"picket.dev/injection": "disabled"}}, "picket.dev/injection: disabled"),
        ({"owner": ("Node", "n")}, "static pod"),
        ({"os": {"name": "windows"}}, "Windows"),
        ({"os": {"name": "linux"}}, "delete it"),
        ({}, "delete it"),
        ({"owner": ("StatefulSet", "db")}, "kubectl rollout restart -n  statefulset/db"),
        ({"owner": ("Job", "import")}, "the next pod of Job/import has one"),
    ],
)
def test_why_a_pod_has_no_sidecar_is_told_with_what_to_do(given: dict[str, Any], told: str) -> None:
    assert told in why_unmeshed(read(sidecar=False, **given))
