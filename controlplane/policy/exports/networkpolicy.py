"""The approved graph as Kubernetes NetworkPolicy. It knows networks, pods and ports, not identities, methods or hosts.

Source: https://kubernetes.io/docs/reference/kubernetes-api/policy-resources/network-policy-v1/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterator
from typing import Any

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.exports.manifests import metadata, named
from controlplane.policy.exports.model import Effect, Export, Manifest, Names, Unsaid
from controlplane.policy.exports.plan import Outward, Reach, Stance, Subject, plan
from controlplane.policy.rules import AddressSource, Policy
from controlplane.topology.model import ServiceName, Topology

_Source = WorkloadId | AddressSource


def network_policies(policy: Policy, topology: Topology, names: Names, *, egress: bool = False) -> Export:
    """One NetworkPolicy per service that enforces; with ``egress`` also one per workload of such a service."""
    planned = plan(policy, topology, egress=egress)
    manifests: list[Manifest] = []
    unsaid = [
        Unsaid(Effect.ASSUMED, f"pods carry their workload's name in the label {names.label}, and nobody else may set it"),
        Unsaid(Effect.ASSUMED, "networks are outside the cluster: a pod within one would be let in, too"),
        *planned.unsaid,
    ]
    for subject in planned.subjects:
        unsaid += _unsaid(subject)
        if subject.stance is not Stance.WATCH:
            manifests.append(_shut(subject, names) if subject.stance is Stance.SHUT else _restrict(subject, names))
    for outward in planned.outward:
        for found in outward.reach:
            if not found.meshed and not found.addresses:
                why = f"a host has no word, and its addresses are not known: {outward.workload} cannot call it"
                unsaid.append(Unsaid(Effect.NARROWER, why, found.name))
        manifests.append(_outward(outward, names))
    return Export(tuple(manifests), tuple(unsaid))


def _unsaid(subject: Subject) -> Iterator[Unsaid]:
    if subject.stance is Stance.WATCH:
        yield Unsaid(Effect.SILENT, "audit has no word: what no rule holds passes unreported", subject.name)
    elif subject.stance is Stance.RESTRICT:
        for rule in subject.rules:
            if rule.http:
                yield Unsaid(Effect.WIDER, "methods and paths have no word: the whole port is open", subject.name, rule)


def _manifest(name: str, namespace: str, spec: dict[str, Any]) -> Manifest:
    return {"apiVersion": "networking.k8s.io/v1", "kind": "NetworkPolicy", "metadata": metadata(name, namespace), "spec": spec}


def _pods(account: str, label: str) -> dict[str, Any]:
    return {"matchLabels": {label: account}}


def _shut(subject: Subject, names: Names) -> Manifest:
    spec = {"podSelector": _pods(subject.name.name, names.label), "policyTypes": ["Ingress", "Egress"]}
    return _manifest(named(subject.name), subject.name.namespace, spec)


def _restrict(subject: Subject, names: Names) -> Manifest:
    spec: dict[str, Any] = {"podSelector": _pods(subject.name.name, names.label), "policyTypes": ["Ingress"]}
    ingress = [
        {"from": [_peer(source, names) for source in sources], "ports": [{"protocol": "TCP", "port": port} for port in ports]}
        for sources, ports in _by_sources(subject)
    ]
    return _manifest(named(subject.name), subject.name.namespace, {**spec, "ingress": ingress} if ingress else spec)


def _by_sources(subject: Subject) -> list[tuple[tuple[_Source, ...], list[int]]]:
    """Sources, with the pods' ports that all of them may call."""
    sources: dict[int, dict[_Source, None]] = {}
    for rule in subject.rules:
        sources.setdefault(subject.pod_port(rule.port), {})[rule.source] = None
    ports: dict[tuple[_Source, ...], list[int]] = {}
    for port, members in sorted(sources.items()):
        ports.setdefault(tuple(members), []).append(port)
    return list(ports.items())


def _peer(source: _Source, names: Names) -> dict[str, Any]:
    return {"ipBlock": {"cidr": source.cidr}} if isinstance(source, AddressSource) else _pods_of(*source, names.label)


def _pods_of(namespace: str, account: str, label: str) -> dict[str, Any]:
    selector = {"matchLabels": {"kubernetes.io/metadata.name": namespace}}
    return {"namespaceSelector": selector, "podSelector": _pods(account, label)}


def _outward(outward: Outward, names: Names) -> Manifest:
    # Without its name server no workload finds what it may call.
    dns = {
        "to": [_pods_of("kube-system", "kube-dns", "k8s-app")],
        "ports": [{"protocol": "UDP", "port": 53}, {"protocol": "TCP", "port": 53}],
    }
    egress = [dns, *({"to": to, **_ports(found)} for found in outward.reach if (to := _to(found, names)))]
    spec = {"podSelector": _pods(outward.workload.account, names.label), "policyTypes": ["Egress"], "egress": egress}
    return _manifest(f"{named(ServiceName(*outward.workload))}-egress", outward.workload.namespace, spec)


def _to(found: Reach, names: Names) -> list[dict[str, Any]]:
    if found.meshed:
        return [_pods_of(*found.name, names.label)]
    return [{"ipBlock": {"cidr": str(ipaddress.ip_network(address))}} for address in found.addresses]


def _ports(found: Reach) -> dict[str, Any]:
    if found.pod_ports is None:
        return {}
    return {"ports": [{"protocol": "TCP", "port": port} for port in sorted(found.pod_ports)]}
