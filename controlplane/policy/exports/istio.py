"""The approved graph as Istio AuthorizationPolicy: by principal, with methods and those path patterns that Istio has.

Source: https://istio.io/latest/docs/reference/config/security/authorization-policy/
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from typing import Any

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.exports.istio_egress import sidecars
from controlplane.policy.exports.manifests import metadata, named
from controlplane.policy.exports.model import Effect, Export, Manifest, Names, Unsaid
from controlplane.policy.exports.plan import Stance, Subject, plan
from controlplane.policy.rules import AddressSource, HttpMatch, Policy, Rule
from controlplane.topology.model import Topology

#: Names a whole segment.
_PARAMETER = re.compile(r"\{[A-Za-z0-9_]{0,64}\}\Z")
#: What a literal segment may hold beside operators.
#: Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/extensions/path/match/uri_template/v3/uri_template_match.proto
_LITERAL = re.compile(r"[A-Za-z0-9._~%!$&'()+,;:@=-]*\Z")


def authorization_policies(policy: Policy, topology: Topology, names: Names, *, egress: bool = False) -> Export:
    """One AuthorizationPolicy per service that enforces or audits; with ``egress`` Sidecars and ServiceEntries, too."""
    planned = plan(policy, topology, egress=egress)
    manifests: list[Manifest] = []
    unsaid = [
        Unsaid(Effect.ASSUMED, f"pods carry their workload's name in the label {names.label} and run with a service account of it"),
        Unsaid(Effect.ASSUMED, "mTLS is strict, but where a rule names a network: plaintext has to get in there"),
        Unsaid(Effect.ASSUMED, "applications do not read a path with encoded separators or dot segments as another one"),
        *planned.unsaid,
    ]
    for subject in planned.subjects:
        if subject.stance is Stance.SHUT:
            manifests.append(_deny(named(subject.name), subject.name.namespace, [{}], _selected(subject.name.name, names)))
        else:
            unsaid += _unsaid(subject)
            manifests.append(_allow(subject, names))
    if planned.shut_out:
        principals = [_principal(workload, names) for workload in planned.shut_out]
        rules = [{"from": [{"source": {"principals": principals}}]}]
        manifests.append(_deny("picket-quarantine", names.root_namespace, rules, {}))
    outward = sidecars(planned.outward, topology, names)
    return Export((*manifests, *outward.manifests), (*unsaid, *outward.unsaid))


def _manifest(meta: dict[str, Any], spec: dict[str, Any]) -> Manifest:
    return {"apiVersion": "security.istio.io/v1", "kind": "AuthorizationPolicy", "metadata": meta, "spec": spec}


def _selected(label: str, names: Names) -> dict[str, Any]:
    return {"selector": {"matchLabels": {names.label: label}}}


def _deny(name: str, namespace: str, rules: list[dict[str, Any]], selector: dict[str, Any]) -> Manifest:
    return _manifest(metadata(name, namespace), {**selector, "action": "DENY", "rules": rules})


def _allow(subject: Subject, names: Names) -> Manifest:
    meta = metadata(named(subject.name), subject.name.namespace)
    if subject.stance is Stance.WATCH:
        meta["annotations"] = {"istio.io/dry-run": "true"}
    rules = [
        {"from": [{"source": _source(source, names)} for source in sources], "to": [{"operation": o} for o in operations]}
        for sources, operations in _grouped(subject)
    ]
    spec = {**_selected(subject.name.name, names), "action": "ALLOW"}
    return _manifest(meta, {**spec, "rules": rules} if rules else spec)


def _grouped(subject: Subject) -> Iterator[tuple[list[WorkloadId | AddressSource], list[dict[str, Any]]]]:
    """Sources that may do the same, with what it is."""
    sources: dict[tuple[int, tuple[HttpMatch, ...]], list[WorkloadId | AddressSource]] = {}
    for rule in subject.rules:
        sources.setdefault((subject.pod_port(rule.port), rule.http), []).append(rule.source)
    for (port, http), members in sources.items():
        operations = list(_operations(port, http))
        if operations:
            yield members, operations


def _source(source: WorkloadId | AddressSource, names: Names) -> dict[str, Any]:
    if isinstance(source, AddressSource):
        return {"ipBlocks": [source.cidr], "notPrincipals": ["*"]}
    return {"principals": [_principal(source, names)]}


def _principal(workload: WorkloadId, names: Names) -> str:
    return workload.uri(names.trust_domain).removeprefix("spiffe://")


def _operations(port: int, http: Iterable[HttpMatch]) -> Iterator[dict[str, Any]]:
    """One operation per method; nothing for matches that cannot be said."""
    by_method: dict[str, list[str]] = {}
    any_http = False
    for match in http:
        any_http = True
        path = istio_path(match)
        if path is not None and "*" not in match.method:
            by_method.setdefault(match.method, []).append(path)
    if not any_http:
        yield {"ports": [str(port)]}
    for method, paths in sorted(by_method.items()):
        methods = {"methods": [method]} if method else {}
        yield {"ports": [str(port)], **methods, **({"paths": sorted(set(paths))} if all(paths) else {})}


def istio_path(match: HttpMatch) -> str | None:
    """A path in Istio's words; empty for any, ``None`` when it has none."""
    if not match.is_template:
        return None if "{" in match.path or "}" in match.path else match.path
    *segments, last = match.path.split("/")[1:]
    rest = "{**}" if last == "*" else None
    made = [*map(_segment, segments), rest if match.is_prefix else _segment(last)]
    return None if None in made else "/" + "/".join(segment or "" for segment in made)


def _segment(segment: str) -> str | None:
    """A segment of a template; ``None`` when Istio has no word for it."""
    if segment == "*" or _PARAMETER.match(segment):
        return "{*}"
    return segment if _LITERAL.match(segment) else None


def _unsaid(subject: Subject) -> Iterator[Unsaid]:
    for rule in subject.rules:
        yield from (Unsaid(Effect.NARROWER, why, subject.name, rule) for why in _narrower(rule))


def _narrower(rule: Rule) -> Iterator[str]:
    for match in rule.http:
        if istio_path(match) is None:
            yield f"{match.path}: only whole segments may be left open"
        elif "*" in match.method:
            yield f"{match.method}: reads as a pattern"
        elif match.is_template and "*" in match.path.split("/")[:-1]:
            yield f"{match.path}: an empty segment does not fit"
