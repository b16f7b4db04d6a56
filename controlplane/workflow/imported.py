"""Turns imported flows into flows between named workloads and services. Pure; what it names by guess it names as the log does.

An import is learning input like any other: it approves nothing. It is not the word of an authenticated sidecar, so its
reporter says that it is an import.
"""

from __future__ import annotations

from collections.abc import Iterable

from controlplane.flows.imports.model import End, Imported
from controlplane.flows.model import EdgeKey, Flow
from controlplane.identity.spiffe import SpiffeError, WorkloadId
from controlplane.policy.rules import EXTERNAL_NAMESPACE
from controlplane.topology.model import Service, ServiceName, Topology, canonical_address, parse_service_name

#: Who reports what was imported; no sidecar has this name.
REPORTER = "import:log"
_CLUSTER_SUFFIXES = ("svc", "svc.cluster.local")


def flows_of(imported: Iterable[Imported], topology: Topology, now_ms: int) -> list[Flow]:
    """The flows, those of one edge summed up, in the order in which they came. Times ahead of ours are another clock's error."""
    summed: dict[tuple[EdgeKey, str, bool, str], list[Imported]] = {}
    for found in imported:
        key = (_edge(found, topology), str(found.verdict), found.inbound, found.reason)
        summed.setdefault(key, []).append(found)
    return [
        Flow(
            edge=edge,
            verdict=members[0].verdict,
            reporter=REPORTER,
            direction="in" if inbound else "out",
            count=len(members),
            first_seen_ms=min(now_ms, *(found.at_ms for found in members)),
            last_seen_ms=min(now_ms, max(found.at_ms for found in members)),
            host=members[0].destination.host,
            peer_address=members[0].source.address,
            reason=reason,
        )
        for (edge, _, inbound, reason), members in summed.items()
    ]


def _edge(found: Imported, topology: Topology) -> EdgeKey:
    name, port = _destination(found.destination, found.port, topology)
    service = topology.services.get(name)
    declared = service.port(port) if service is not None else None
    protocol = declared.protocol if declared is not None and declared.protocol != "auto" else found.protocol
    return EdgeKey(_source(found.source, topology), str(name), port, protocol, found.method, found.path)


def _source(end: End, topology: Topology) -> str:
    """Its identity where it is known, or else what the topology knows it by, or what the log calls it, or its address."""
    names = [ServiceName(end.namespace, name) for name in (end.account, end.app, end.workload) if name and end.namespace]
    for name in names:
        if (workload := name.workload) is not None and workload in topology.by_workload:
            return str(workload)
    at = topology.by_address.get(end.address)
    if at is not None and at.meshed:
        return str(at.workload)
    for name in names:
        if (workload := name.workload) is not None:
            return str(workload)
    return f"ip:{canonical_address(end.address) or end.address}"


def _destination(end: End, port: int, topology: Topology) -> tuple[ServiceName, int]:
    """The service and its port: what was dialled, where it is, or what the log calls it."""
    called = _called(end)
    for name in called:
        if (known := topology.services.get(name)) is not None:
            return name, _dialled(known, port)
    resolved = topology.resolve_dialled(None, end.address, port) if end.address else None
    if resolved is not None:
        return resolved[0].name, resolved[1]
    external = topology.by_host.get(end.host)
    if external is not None:
        return external.name, port
    names = [ServiceName(end.namespace, name) for name in (end.app, end.workload, end.account) if name and end.namespace]
    for name in (*called, *names):
        if (known := topology.services.get(name)) is not None:
            return name, _dialled(known, port)
        if _is_name(name):
            return name, port
    return ServiceName(EXTERNAL_NAMESPACE, end.host or canonical_address(end.address) or end.address), port


def _dialled(service: Service, port: int) -> int:
    """The service's port; logs that see packets know the pod's."""
    if service.port(port) is not None:
        return port
    return next((declared.number for declared in service.ports if declared.target == port), port)


def _called(end: End) -> list[ServiceName]:
    """The services of the cluster that a host may be the name of."""
    name, _, rest = end.host.partition(".")
    namespace, _, suffix = rest.partition(".")
    if not name:
        return []
    if not rest:
        return [ServiceName(end.namespace, name)] if end.namespace else []
    if suffix in _CLUSTER_SUFFIXES or (not suffix and namespace == end.namespace):
        return [ServiceName(namespace, name)]
    return []


def _is_name(name: ServiceName) -> bool:
    try:
        WorkloadId(*name)
        return parse_service_name(str(name)) == name
    except (ValueError, SpiffeError):
        return False
