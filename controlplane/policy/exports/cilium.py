"""The approved graph as CiliumNetworkPolicy: by service account, with methods, paths and host names.

Cilium matches a path together with its query, by a regular expression for the whole of it.
Source: https://docs.cilium.io/en/stable/security/policy/language/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterator
from typing import Any

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.exports.manifests import metadata, named
from controlplane.policy.exports.model import Effect, Export, Manifest, Names, Unsaid
from controlplane.policy.exports.plan import Outward, Reach, Stance, Subject, plan
from controlplane.policy.rules import AddressSource, HttpMatch, Policy
from controlplane.topology.model import ServiceName, Topology

_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
_NAMESPACE = "k8s:io.kubernetes.pod.namespace"
#: Cilium takes no more in one entry.
_MAX_PORTS = 40
_Source = WorkloadId | AddressSource


def cilium_policies(policy: Policy, topology: Topology, names: Names, *, egress: bool = False) -> Export:
    """One CiliumNetworkPolicy per service that enforces; with ``egress`` also one per workload of such a service."""
    del names  # Cilium knows workloads by their service accounts
    planned = plan(policy, topology, egress=egress)
    manifests: list[Manifest] = []
    unsaid = [
        Unsaid(Effect.ASSUMED, "each workload's pods run with a service account of its name"),
        Unsaid(Effect.ASSUMED, "applications do not read a path with encoded separators or dot segments as another one"),
        *planned.unsaid,
    ]
    for subject in planned.subjects:
        if subject.stance is Stance.WATCH:
            unsaid.append(Unsaid(Effect.SILENT, "audit is the agent's: what no rule holds passes unreported", subject.name))
        else:
            manifests.append(_shut(subject) if subject.stance is Stance.SHUT else _restrict(subject))
    manifests += [_outward(outward) for outward in planned.outward]
    return Export(tuple(manifests), tuple(unsaid))


def _manifest(name: str, workload: ServiceName, spec: dict[str, Any]) -> Manifest:
    return {
        "apiVersion": "cilium.io/v2",
        "kind": "CiliumNetworkPolicy",
        "metadata": metadata(name, workload.namespace),
        "spec": {"endpointSelector": {"matchLabels": {_ACCOUNT: workload.name}}, **spec},
    }


def _shut(subject: Subject) -> Manifest:
    # A rule that selects nobody denies everybody.
    return _manifest(named(subject.name), subject.name, {"ingress": [{}], "egress": [{}]})


def _restrict(subject: Subject) -> Manifest:
    by_source: dict[_Source, list[dict[str, Any]]] = {}
    for rule in subject.rules:
        by_source.setdefault(rule.source, []).append(_to_port(subject.pod_port(rule.port), rule.http))
    ingress = [{**_from(source), "toPorts": ports} for source, ports in by_source.items()]
    return _manifest(named(subject.name), subject.name, {"ingress": ingress or [{}]})


def _from(source: _Source) -> dict[str, Any]:
    return {"fromCIDR": [source.cidr]} if isinstance(source, AddressSource) else {"fromEndpoints": [_endpoint(*source)]}


def _endpoint(namespace: str, account: str) -> dict[str, Any]:
    return {"matchLabels": {_NAMESPACE: namespace, f"k8s:{_ACCOUNT}": account}}


def _to_port(port: int, http: tuple[HttpMatch, ...]) -> dict[str, Any]:
    opened: dict[str, Any] = {"ports": [{"port": str(port), "protocol": "TCP"}]}
    return {**opened, "rules": {"http": [_http(match) for match in http]}} if http else opened


def _http(match: HttpMatch) -> dict[str, str]:
    path = {"path": f"{_path_expression(match)}(\\?.*)?"} if match.path else {}
    return {**path, "method": re.escape(match.method)} if match.method else path


def _path_expression(match: HttpMatch) -> str:
    return match.path_expression() if match.is_prefix or match.is_template else re.escape(match.path)


def _outward(outward: Outward) -> Manifest:
    # Without its name server no workload finds what it may call, and Cilium learns host names from its answers.
    dns = {
        "toEndpoints": [{"matchLabels": {_NAMESPACE: "kube-system", "k8s:k8s-app": "kube-dns"}}],
        "toPorts": [{"ports": [{"port": "53", "protocol": "ANY"}], "rules": {"dns": [{"matchPattern": "*"}]}}],
    }
    egress = [dns, *({**to, **_ports(found)} for found in outward.reach for to in _to(found))]
    workload = ServiceName(*outward.workload)
    return _manifest(f"{named(workload)}-egress", workload, {"egress": egress})


def _to(found: Reach) -> Iterator[dict[str, Any]]:
    if found.meshed:
        yield {"toEndpoints": [_endpoint(*found.name)]}
    elif found.addresses:
        yield {"toCIDR": [str(ipaddress.ip_network(address)) for address in found.addresses]}
    else:
        yield {"toFQDNs": [{"matchName": found.name.name.lower()}]}


def _ports(found: Reach) -> dict[str, Any]:
    if found.pod_ports is None:
        return {}
    ports = [{"port": str(port), "protocol": "TCP"} for port in sorted(found.pod_ports)]
    return {"toPorts": [{"ports": ports[first : first + _MAX_PORTS]} for first in range(0, len(ports), _MAX_PORTS)]}
