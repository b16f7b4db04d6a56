"""What workloads may call, as Istio Sidecar and ServiceEntry. Names hosts; ports only of hosts outside the mesh.

Source: https://istio.io/latest/docs/reference/config/networking/sidecar/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from controlplane.policy.exports.manifests import metadata, named
from controlplane.policy.exports.model import Effect, Export, Manifest, Names, Unsaid
from controlplane.policy.exports.plan import Outward, Reach
from controlplane.topology.model import ServiceName, Topology, is_ip_address

_HOST = re.compile(r"[a-z0-9]([a-z0-9-]*[a-z0-9])?(\.[a-z0-9]([a-z0-9-]*[a-z0-9])?)*\Z")


def sidecars(planned: Iterable[Outward], topology: Topology, names: Names) -> Export:
    """One Sidecar per workload, and one ServiceEntry per namespace and host outside the mesh."""
    manifests: list[Manifest] = []
    unsaid: list[Unsaid] = []
    entries: dict[tuple[str, ServiceName], dict[str, frozenset[int]]] = {}
    listed = list(planned)
    if listed:
        why = "a Sidecar names hosts: which of their ports may be called, the destination's AuthorizationPolicy decides"
        unsaid.append(Unsaid(Effect.ASSUMED, why))
    for outward in listed:
        hosts = [f"{names.root_namespace}/*"]
        for found in outward.reach:
            if found.meshed:
                hosts.append(f"{found.name.namespace}/{found.name.name}.{found.name.namespace}.svc.{names.cluster_domain}")
                continue
            ports, problems = _outside(found, topology, str(outward.workload))
            unsaid += problems
            if ports:
                entries.setdefault((outward.workload.namespace, found.name), {})[str(outward.workload)] = ports
                hosts.append(f"./{_host(found.name)}")
        manifests.append(_sidecar(outward, hosts, names))
    for (namespace, name), users in sorted(entries.items()):
        ports = frozenset().union(*users.values())
        manifests.append(_entry(namespace, name, ports, topology))
        unsaid += _shared(name, ports, users)
        unsaid += _by_port(name, ports, topology)
    return Export(tuple(manifests), tuple(unsaid))


def _host(name: ServiceName) -> str:
    """The host's name; an address gets one, because a ServiceEntry has to have one."""
    host = name.name.lower()
    return re.sub(r"[.:]", "-", host) + ".picket.external" if is_ip_address(host) else host


def _outside(found: Reach, topology: Topology, workload: str) -> tuple[frozenset[int], list[Unsaid]]:
    """The ports of a host outside that are to be open, and what cannot be said of it."""
    if not is_ip_address(found.name.name) and not _HOST.match(found.name.name.lower()):
        return frozenset(), [Unsaid(Effect.NARROWER, f"not a host name to Istio: {workload} cannot call it", found.name)]
    if found.ports is not None:
        return found.ports, []
    declared = topology.services.get(found.name)
    ports = frozenset(port.number for port in declared.ports) if declared else frozenset()
    return ports, [Unsaid(Effect.NARROWER, f"{workload} may call its declared ports only", found.name)]


def _sidecar(outward: Outward, hosts: list[str], names: Names) -> Manifest:
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "Sidecar",
        "metadata": metadata(named(ServiceName(*outward.workload)), outward.workload.namespace),
        "spec": {
            "workloadSelector": {"labels": {names.label: outward.workload.account}},
            "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
            "egress": [{"hosts": hosts}],
        },
    }


def _entry(namespace: str, name: ServiceName, ports: Iterable[int], topology: Topology) -> Manifest:
    addresses = _addresses(name, topology)
    spec: dict[str, Any] = {"hosts": [_host(name)]}
    if addresses:
        spec |= {"addresses": addresses, "endpoints": [{"address": address} for address in addresses]}
    return {
        "apiVersion": "networking.istio.io/v1",
        "kind": "ServiceEntry",
        "metadata": metadata(named(name), namespace),
        "spec": {
            **spec,
            "ports": [
                {"number": port, "name": f"{protocol.lower()}-{port}", "protocol": protocol}
                for port in sorted(ports)
                for protocol in (_protocol(name, port, topology),)
            ],
            "location": "MESH_EXTERNAL",
            "resolution": "STATIC" if addresses else "DNS",
            "exportTo": ["."],
        },
    }


def _addresses(name: ServiceName, topology: Topology) -> list[str]:
    if is_ip_address(name.name):
        return [name.name]
    declared = topology.services.get(name)
    return list(declared.endpoints or declared.addresses) if declared else []


def _protocol(name: ServiceName, port: int, topology: Topology) -> str:
    declared = topology.services.get(name)
    spoken = declared.port(port) if declared else None
    known = {"http": "HTTP", "http2": "HTTP2", "grpc": "GRPC", "https": "TLS", "tls": "TLS", "mongo": "MONGO"}
    if spoken is not None:
        return known.get(spoken.protocol, "TCP")
    return {80: "HTTP", 443: "TLS"}.get(port, "TCP")


def _shared(name: ServiceName, ports: frozenset[int], users: dict[str, frozenset[int]]) -> Iterator[Unsaid]:
    for workload, own in sorted(users.items()):
        if own != ports:
            more = ", ".join(map(str, sorted(ports - own)))
            yield Unsaid(Effect.WIDER, f"{workload} may call ports {more}, because others of its namespace may", name)


def _by_port(name: ServiceName, ports: Iterable[int], topology: Topology) -> Iterator[Unsaid]:
    for port in sorted(ports):
        if _protocol(name, port, topology) in {"TCP", "MONGO"} and not _addresses(name, topology):
            yield Unsaid(Effect.WIDER, f"port {port} shows no host and no address is known: every host's is open", name)
