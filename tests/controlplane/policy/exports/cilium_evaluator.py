"""What Cilium does with a call under CiliumNetworkPolicies. Written from its documentation, and knows nothing of Picket.

Source: https://docs.cilium.io/en/stable/security/policy/
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from controlplane.identity.spiffe import WorkloadId
from tests.controlplane.policy.exports.calls import Call

Document = Mapping[str, Any]
_ACCOUNT = "io.cilium.k8s.policy.serviceaccount"
_PEERS = {"ingress": ("fromEndpoints", "fromCIDR"), "egress": ("toEndpoints", "toCIDR", "toFQDNs")}


def passes(policies: Iterable[Document], call: Call, query: str = "") -> bool:
    """Whether the call gets out of its source's endpoint and into its destination's."""
    listed = list(policies)
    inward = call.peer is None or _direction(listed, call.peer, "ingress", call, call.source, query)
    outward = call.source is None or _direction(listed, call.source, "egress", call, call.peer, query)
    return inward and outward


def _labels(endpoint: WorkloadId) -> dict[str, str]:
    return {_ACCOUNT: endpoint.account, "io.kubernetes.pod.namespace": endpoint.namespace}


def _selects(selector: Mapping[str, Any], endpoint: WorkloadId) -> bool:
    labels = _labels(endpoint)
    return all(labels.get(key.removeprefix("k8s:")) == value for key, value in selector["matchLabels"].items())


def _direction(
    policies: list[Document], endpoint: WorkloadId, direction: str, call: Call, other: WorkloadId | None, query: str
) -> bool:
    own = [
        policy["spec"]
        for policy in policies
        if direction in policy["spec"]
        and policy["metadata"]["namespace"] == endpoint.namespace
        and _selects(policy["spec"]["endpointSelector"], endpoint)
    ]
    return not own or any(_rule(rule, direction, call, other, query) for spec in own for rule in spec[direction])


def _rule(rule: Mapping[str, Any], direction: str, call: Call, other: WorkloadId | None, query: str) -> bool:
    if not rule:
        return False  # selects nobody: only makes deny the default
    keys = [key for key in _PEERS[direction] if key in rule]
    address = call.address if direction == "ingress" else call.destination_address
    if keys and not any(_is_peer(rule, key, call, other, address) for key in keys):
        return False
    return "toPorts" not in rule or any(_port(entry, call, query) for entry in rule["toPorts"])


def _is_peer(rule: Mapping[str, Any], key: str, call: Call, other: WorkloadId | None, address: str) -> bool:
    if key.endswith("Endpoints"):
        return other is not None and any(_selects(selector, other) for selector in rule[key])
    if key.endswith("CIDR"):
        return other is None and bool(address) and any(ipaddress.ip_address(address) in ipaddress.ip_network(c) for c in rule[key])
    return other is None and any(fqdn["matchName"] == call.destination.name for fqdn in rule[key])


def _port(entry: Mapping[str, Any], call: Call, query: str) -> bool:
    if not any(port["port"] == str(call.pod_port) and port["protocol"] in {"TCP", "ANY"} for port in entry["ports"]):
        return False
    if "rules" not in entry:
        return True
    return any(
        call.method != ""
        and re.fullmatch(http.get("method", ".*"), call.method) is not None
        and re.fullmatch(http.get("path", ".*"), call.path + query) is not None
        for http in entry["rules"].get("http", [])
    )
