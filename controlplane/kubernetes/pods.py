"""What a pod is in the mesh: whose, of which workload, with which images, with a sidecar or why not. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator

from controlplane.kubernetes.injection.containers import INIT, SIDECAR
from controlplane.kubernetes.injection.rules import DISABLED, ENABLED, INJECTION_LABEL
from controlplane.kubernetes.objects import Container, Pod

DEFAULT_ACCOUNT = "default"
_HASH_LABEL = "pod-template-hash"
#: A CronJob names its jobs by the minute for which they are: https://kubernetes.io/docs/concepts/workloads/controllers/cron-jobs/
_SCHEDULED = re.compile(r"(.+)-[0-9]{8,10}\Z")
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}\Z")
_FINISHED = frozenset({"Succeeded", "Failed"})


def account_of(pod: Pod) -> str:
    """``namespace/account``."""
    return f"{pod.metadata.namespace}/{pod.spec.service_account_name or DEFAULT_ACCOUNT}"


def is_finished(pod: Pod) -> bool:
    """Whether its containers are done."""
    return pod.status.phase in _FINISHED


def is_live(pod: Pod) -> bool:
    """Whether it has an address of its own and its containers are not done."""
    return not is_finished(pod) and bool(pod.status.pod_ip) and not pod.spec.host_network


def is_injected(pod: Pod) -> bool:
    """Whether it has a sidecar."""
    return any(container.name == SIDECAR for container in (*_of(pod.spec.containers), *_of(pod.spec.init_containers)))


def addresses_of(pod: Pod) -> tuple[str, ...]:
    """Its addresses, of both families where it has them."""
    return tuple(found.ip for found in pod.status.pod_ips or () if found.ip) or (pod.status.pod_ip,)


def containers_of(pod: Pod) -> Iterator[Container]:
    """The application's containers."""
    return (container for container in _of(pod.spec.containers) if container.name not in {SIDECAR, INIT})


def owner_of(pod: Pod) -> str:
    """What it was made for: the Deployment behind its ReplicaSet, the CronJob behind its Job; itself where nobody made it.

    A Deployment names its ReplicaSets by itself and the hash that its pods have as a label, so that neither has to be read.
    """
    owner = next((owner for owner in pod.metadata.owner_references if owner.controller), None)
    if owner is None:
        return f"Pod/{pod.metadata.name}"
    if owner.kind == "ReplicaSet":
        suffix = f"-{(pod.metadata.labels or {}).get(_HASH_LABEL, '')}"
        if len(suffix) > 1 and owner.name.endswith(suffix):
            return f"Deployment/{owner.name.removesuffix(suffix)}"
    if owner.kind == "Job" and (found := _SCHEDULED.match(owner.name)):
        return f"CronJob/{found[1]}"
    return f"{owner.kind}/{owner.name}"


def images_of(pod: Pod) -> tuple[tuple[str, str], ...]:
    """Each of the application's containers with the digest of what runs in it (``sha256:...``), where that is known."""
    found = []
    for status in pod.status.container_statuses or ():
        _, at, digest = status.image_id.rpartition("@")
        if at and _DIGEST.match(digest) and status.name not in {SIDECAR, INIT}:
            found.append((status.name, digest))
    return tuple(sorted(found))


def why_unmeshed(pod: Pod) -> str:
    """Why a pod of a namespace with injection has no sidecar, and what to do."""
    owner = owner_of(pod)
    if pod.spec.host_network:
        return "it uses the host's network, which a sidecar cannot capture"
    if (pod.metadata.labels or {}).get(INJECTION_LABEL) == DISABLED:
        return f"its label {INJECTION_LABEL}: {DISABLED} says so"
    if pod.spec.os is not None and pod.spec.os.name == "windows":
        return "it runs on Windows, where there is no sidecar"
    if owner.startswith("Node/"):
        return "it is a static pod of its node"
    kind, _, name = owner.partition("/")
    match kind:
        case "Pod":
            remedy = "delete it and make it again"
        case "Deployment" | "StatefulSet" | "DaemonSet":
            remedy = f"kubectl rollout restart -n {pod.metadata.namespace} {kind.lower()}/{name}"
        case _:
            remedy = f"the next pod of {owner} has one"
    return f"it was made before injection was on, or while the webhook was away; {remedy}"


def wants_sidecar(pod: Pod, enabled: Collection[str]) -> bool:
    """Whether a pod is to have a sidecar, or its namespace (one of ``enabled``) wants it to have one."""
    return (pod.metadata.labels or {}).get(INJECTION_LABEL) == ENABLED or pod.metadata.namespace in enabled


def _of(containers: tuple[Container, ...] | None) -> tuple[Container, ...]:
    return containers or ()
