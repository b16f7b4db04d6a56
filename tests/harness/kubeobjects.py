"""Kubernetes objects as the API writes them, for tests of what Picket reads in them."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from controlplane.kubernetes import objects
from controlplane.kubernetes.objects import Objects

Json = dict[str, Any]
PLURALS = {
    "namespaces": objects.Namespace, "serviceaccounts": objects.ServiceAccount, "services": objects.Service,
    "endpointslices": objects.EndpointSlice, "pods": objects.Pod,
}  # fmt: skip


def digest(of: str) -> str:
    """An image's digest."""
    return f"sha256:{hashlib.sha256(of.encode()).hexdigest()}"


def pod(
    name: str, ip: str, account: str = "cart", *, sidecar: bool = True, native: bool = True, owner: tuple[str, str] | None = None,
    labels: Mapping[str, str] | None = None, ports: Sequence[tuple[str, int]] = (), phase: str = "Running", **spec: Any,
) -> Json:  # fmt: skip
    """A pod with one container of its own, `server`."""
    containers: list[Json] = [{"name": "server", "ports": [{"name": name, "containerPort": port} for name, port in ports]}]
    first: list[Json] = []
    if sidecar:
        first.append({"name": "picket-init"})
        (first if native else containers).append({"name": "picket-sidecar", "ports": [{"containerPort": 15021}]})
    owners = [{"kind": owner[0], "name": owner[1], "controller": True, "uid": "u"}] if owner else []
    return {
        "metadata": {"name": name, "labels": dict(labels or {}), "ownerReferences": owners},
        "spec": {"serviceAccountName": account, "containers": containers, "initContainers": first, **spec},
        "status": {
            "phase": phase, "podIP": ip, "podIPs": [{"ip": ip}] if ip else [],
            "containerStatuses": [
                {"name": "server", "imageID": f"registry.example/{account}@{digest(account)}"},
                {"name": "picket-sidecar", "imageID": f"registry.example/picket@{digest('picket')}"},
            ],
        },
    }  # fmt: skip


def service(name: str, ports: Sequence[Json], ip: str = "10.96.0.1", **spec: Any) -> Json:
    """A service; `ip` None is headless."""
    return {"metadata": {"name": name}, "spec": {"type": "ClusterIP", "clusterIPs": [ip], "ports": list(ports), **spec}}


def endpoints(
    of: str, pods: Mapping[str, str], ports: Mapping[str, int], *, unready: Sequence[str] = (), kind: str = "Pod"
) -> Json:
    """A slice: pods and their addresses, and ports by the service's names for them."""
    return {
        "metadata": {"name": f"{of}-abc", "labels": {"kubernetes.io/service-name": of}},
        "addressType": "IPv4",
        "endpoints": [
            {"addresses": [ip], "conditions": {"ready": name not in unready}, "targetRef": {"kind": kind, "name": name}}
            for name, ip in pods.items()
        ],
        "ports": [{"name": name, "port": port, "protocol": "TCP"} for name, port in ports.items()],
    }


def namespace(name: str, **labels: str) -> Json:
    """A namespace; `injection` and `mode` are Picket's labels."""
    return {"metadata": {"name": name, "labels": {f"picket.dev/{key}": value for key, value in labels.items()}}}


def held(
    *, namespaces: Sequence[Json] = (), accounts: Sequence[str] = ("cart", "web", "default"), services: Sequence[Json] = (),
    slices: Sequence[Json] = (), pods: Sequence[Json] = (), into: str = "shop",
) -> Objects:  # fmt: skip
    """All of them as Picket holds them, in one namespace where they have one."""
    collected = {
        "namespaces": namespaces or [namespace(into, injection="enabled")],
        "serviceaccounts": [{"metadata": {"name": name}} for name in accounts],
        "services": services,
        "endpointslices": slices,
        "pods": pods,
    }
    read: dict[str, dict[str, Any]] = {}
    for plural, kind in PLURALS.items():
        read[plural] = {}
        for body in collected[plural]:
            metadata = body["metadata"] | ({} if plural == "namespaces" else {"namespace": into})
            found = msgspec.convert({**body, "metadata": metadata}, kind)
            read[plural][found.metadata.key] = found
    return Objects(
        read["namespaces"], read["serviceaccounts"], read["services"], read["endpointslices"], read["pods"]
    )  # fmt: skip
