"""What Istio does with a call under its policies and Sidecars. Written from its documentation, and knows nothing of Picket.

Source: https://istio.io/latest/docs/concepts/security/#authorization-policies
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from typing import Any

from tests.controlplane.policy.exports.calls import Call

Document = Mapping[str, Any]
_TEMPLATE_LITERAL = "[a-zA-Z0-9-._~%!$&'()*+,;:@=]"


def passes(policies: Iterable[Document], call: Call, root: str = "istio-system") -> bool:
    """Whether the destination's sidecar lets the call in: DENY first, then ALLOW."""
    own = [policy["spec"] for policy in policies if policy["kind"] == "AuthorizationPolicy" and _applies(policy, call, root)]
    if any(_holds(rule, call) for spec in own if spec["action"] == "DENY" for rule in spec.get("rules", [])):
        return False
    allow = [spec for spec in own if spec["action"] == "ALLOW"]
    return not allow or any(_holds(rule, call) for spec in allow for rule in spec.get("rules", []))


def _applies(policy: Document, call: Call, root: str) -> bool:
    if policy["metadata"].get("annotations", {}).get("istio.io/dry-run") == "true":
        return False
    if policy["metadata"]["namespace"] not in {root, call.destination.namespace}:
        return False
    labels = policy["spec"].get("selector", {}).get("matchLabels", {})
    return all({"app": call.destination.name}.get(key) == value for key, value in labels.items())


def _holds(rule: Mapping[str, Any], call: Call) -> bool:
    sources = rule.get("from", [{"source": {}}])
    operations = rule.get("to", [{"operation": {}}])
    asked = any(_operation(item["operation"], call) for item in operations)
    return asked and any(_source(item["source"], call) for item in sources)


def _source(source: Mapping[str, Any], call: Call) -> bool:
    principal = f"cluster.local/ns/{call.source.namespace}/sa/{call.source.account}" if call.source is not None else ""
    if "principals" in source and not any(_text(wanted, principal) for wanted in source["principals"]):
        return False
    if any(_text(refused, principal) for refused in source.get("notPrincipals", [])):
        return False
    blocks = source.get("ipBlocks")
    return blocks is None or any(ipaddress.ip_address(call.address) in ipaddress.ip_network(block) for block in blocks)


def _operation(operation: Mapping[str, Any], call: Call) -> bool:
    if not call.method and ("methods" in operation or "paths" in operation):
        return False  # of HTTP only
    return (
        str(call.pod_port) in operation.get("ports", [str(call.pod_port)])
        and ("methods" not in operation or any(_text(method, call.method) for method in operation["methods"]))
        and ("paths" not in operation or any(_path(path, call.path) for path in operation["paths"]))
    )


def _text(wanted: str, value: str) -> bool:
    """Exact, prefix, suffix and presence."""
    if wanted == "*":
        return value != ""
    if wanted.endswith("*"):
        return value.startswith(wanted[:-1])
    if wanted.startswith("*"):
        return value.endswith(wanted[1:])
    return wanted == value


def _path(wanted: str, path: str) -> bool:
    if "{*}" not in wanted and "{**}" not in wanted:
        return _text(wanted, path)
    expression = ""
    for part in re.split(r"(\{\*\*?\})", wanted):
        if part == "{**}":
            expression += f"(?:{_TEMPLATE_LITERAL}|/)*"
        elif part == "{*}":
            expression += f"{_TEMPLATE_LITERAL}+"
        else:
            expression += re.escape(part)
    return re.fullmatch(expression, path) is not None


def check_valid(policy: Document) -> None:
    """What Istio's own validation refuses, for the fields that are used here."""
    for rule in policy["spec"].get("rules", []):
        for item in rule.get("to", []):
            for path in item["operation"].get("paths", []):
                template = "{*}" in path or "{**}" in path
                globs = path.strip("/").split("/")
                assert "{**}" not in globs[:-1]
                for glob in globs:
                    if glob not in {"{*}", "{**}"}:
                        assert "{" not in glob
                        assert "}" not in glob
                        assert not (template and "*" in glob)


def visible(documents: Iterable[Document], call: Call) -> bool:
    """Whether the source's Sidecar shows it the host that it calls; everything is visible without one."""
    if call.source is None:
        return True
    listed = list(documents)
    own = [
        document["spec"]
        for document in listed
        if document["kind"] == "Sidecar"
        and document["metadata"]["namespace"] == call.source.namespace
        and document["spec"]["workloadSelector"]["labels"]["app"] == call.source.account
    ]
    if not own:
        return True
    (spec,) = own
    assert spec["outboundTrafficPolicy"] == {"mode": "REGISTRY_ONLY"}
    hosts = [host for egress in spec["egress"] for host in egress["hosts"]]
    if not call.outside:
        wanted = f"{call.destination.namespace}/{call.destination.name}.{call.destination.namespace}.svc.cluster.local"
        return wanted in hosts
    entries = [
        document["spec"]
        for document in listed
        if document["kind"] == "ServiceEntry"
        and document["metadata"]["namespace"] == call.source.namespace
        and {call.destination.name, call.destination_address} & {*document["spec"]["hosts"], *document["spec"].get("addresses", [])}
    ]
    return any(f"./{entry['hosts'][0]}" in hosts and call.port in [port["number"] for port in entry["ports"]] for entry in entries)
