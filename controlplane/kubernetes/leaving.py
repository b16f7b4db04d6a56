"""What a cluster gets back when Picket is removed: the webhook goes first, then what was kept in its namespaces.

Runs without a control plane, by the chart's own Jobs. Removes nothing that a pod still mounts, and nothing that is not Picket's.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from contextlib import aclosing
from dataclasses import dataclass

from controlplane.kubernetes import cabundle
from controlplane.kubernetes.client import Client, KubernetesError
from controlplane.kubernetes.names import TRUST_BUNDLE
from controlplane.kubernetes.objects import Object, Pod
from controlplane.kubernetes.pods import is_finished, is_injected
from controlplane.kubernetes.watch import pages

_NOT_FOUND = 404


@dataclass(frozen=True, slots=True)
class Cleaned:
    """From which namespaces the roots were removed, and where pods (how many) mount them still, so that they were not."""

    removed: tuple[str, ...]
    mounted: Mapping[str, int]


async def stop_injection(client: Client, configuration: str) -> bool:
    """Remove the webhook: pods are made again without anybody being asked. Says whether it was there.

    Raises:
        KubernetesError: it may not be removed.
    """
    return await _delete(client, f"{cabundle.PATH}/{configuration}")


async def with_sidecars(client: Client) -> Mapping[str, int]:
    """How many pods of each namespace have a sidecar.

    Raises:
        KubernetesError: they cannot be listed.
    """
    found: Counter[str] = Counter()
    async with aclosing(pages(client, "/api/v1/pods", Pod)) as listed:
        async for pods, _ in listed:
            found.update(pod.metadata.namespace for pod in pods if is_injected(pod) and not is_finished(pod))
    return found


async def remove_bundles(client: Client) -> Cleaned:
    """Remove the mesh's roots from each namespace in which no pod mounts them.

    Raises:
        KubernetesError: something cannot be listed or removed.
    """
    # RBAC takes a list of one name for that name: https://kubernetes.io/docs/reference/access-authn-authz/rbac/#referring-to-resources
    named = {"fieldSelector": f"metadata.name={TRUST_BUNDLE}"}
    async with aclosing(pages(client, "/api/v1/configmaps", Object, named)) as listed:
        namespaces = sorted([item.metadata.namespace async for items, _ in listed for item in items])
    pods = await with_sidecars(client)
    removed = [namespace for namespace in namespaces if namespace not in pods]
    for namespace in removed:
        await _delete(client, f"/api/v1/namespaces/{namespace}/configmaps/{TRUST_BUNDLE}")
    return Cleaned(tuple(removed), {namespace: pods[namespace] for namespace in namespaces if namespace in pods})


async def remove_authority(client: Client, secret: str) -> bool:
    """Remove the certificate authority of the client's own namespace, and with it the mesh. Says whether it was there.

    Raises:
        KubernetesError: it may not be removed.
    """
    return await _delete(client, f"/api/v1/namespaces/{client.namespace}/secrets/{secret}")


async def _delete(client: Client, path: str) -> bool:
    try:
        await client.delete(path)
    except KubernetesError as error:
        if error.status != _NOT_FOUND:
            raise
        return False
    return True
