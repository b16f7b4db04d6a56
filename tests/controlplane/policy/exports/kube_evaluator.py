"""What a cluster that obeys NetworkPolicy does with a call. Written from Kubernetes' documentation, and knows nothing of Picket.

Source: https://kubernetes.io/docs/concepts/services-networking/network-policies/
"""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.identity.spiffe import WorkloadId
from tests.controlplane.policy.exports.calls import Call

Document = Mapping[str, Any]


def passes(policies: Iterable[Document], call: Call, label: str = "app") -> bool:
    """Whether the call gets out of its source's pod and into its destination's."""
    listed = list(policies)
    into = _isolating(listed, call.peer, "Ingress", label)
    inward = not into or any(_admits(policy, "ingress", "from", call, call.source, label) for policy in into)
    out = _isolating(listed, call.source, "Egress", label)
    outward = not out or any(_admits(policy, "egress", "to", call, call.peer, label) for policy in out)
    return inward and outward


def _isolating(policies: list[Document], pod: WorkloadId | None, direction: str, label: str) -> list[Document]:
    return [
        policy
        for policy in policies
        if pod is not None
        and direction in policy["spec"]["policyTypes"]
        and policy["metadata"]["namespace"] == pod.namespace
        and _selects(policy["spec"]["podSelector"], {label: pod.account})
    ]


def _selects(selector: Mapping[str, Any], labels: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in selector.get("matchLabels", {}).items())


def _admits(policy: Document, direction: str, peers: str, call: Call, other: WorkloadId | None, label: str) -> bool:
    address = call.address if direction == "ingress" else call.destination_address
    return any(
        (peers not in rule or any(_is_peer(peer, address, other, label) for peer in rule[peers]))
        and ("ports" not in rule or any(port["protocol"] == "TCP" and port["port"] == call.pod_port for port in rule["ports"]))
        for rule in policy["spec"].get(direction, [])
    )


def _is_peer(peer: Mapping[str, Any], address: str, other: WorkloadId | None, label: str) -> bool:
    if "ipBlock" in peer:
        network = ipaddress.ip_network(peer["ipBlock"]["cidr"])
        return other is None and bool(address) and ipaddress.ip_address(address) in network
    return (
        other is not None
        and _selects(peer["namespaceSelector"], {"kubernetes.io/metadata.name": other.namespace})
        and _selects(peer["podSelector"], {label: other.account})
    )
