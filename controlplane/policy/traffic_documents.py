"""Reads `TrafficPolicy` documents from YAML text, and turns them into the policy that they mean, and back. Never does I/O."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.findings import Finding
from controlplane.policy.revise import merge
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy, rule_order
from controlplane.policy.traffic_policy import API_VERSION, KIND, Held, Lease, Peer, Request, TrafficPolicy, TrafficRule
from controlplane.policy.traffic_shape import PEERS, PORTS, REQUESTS, TRAFFIC_POLICY
from controlplane.policy.written.shape import Shape, read_value, wrong
from controlplane.policy.written.source import Source as YamlSource
from controlplane.policy.written.source import read_source
from controlplane.policy.written.tree import Kind, Node, Scalar
from controlplane.policy.written.tree import Mapping as MappingNode
from controlplane.topology.model import ServiceName

Source = WorkloadId | AddressSource
Item = TypeVar("Item")
_GROUP = API_VERSION.partition("/")[0]


@dataclass(frozen=True, slots=True)
class Reading:
    """What a file held: its documents, what is wrong with it, and how many documents are of other kinds (and left alone)."""

    documents: tuple[TrafficPolicy, ...]
    findings: tuple[Finding, ...] = ()
    others: int = 0


def read_documents(body: bytes, file: str) -> Reading:
    """The documents of a file. One that does not read is told of and left out; the others are there."""
    source = read_source(body, file)
    return Reading((), (source,)) if isinstance(source, Finding) else documents_in(source)


def documents_in(source: YamlSource) -> Reading:
    """The documents of a file that is parsed already."""
    documents: list[TrafficPolicy] = []
    findings: list[Finding] = []
    others = 0
    for root in source.documents:
        if is_other(root):
            others += 1
            continue
        document, wrongs = read_kind(TRAFFIC_POLICY, root, KIND)
        findings += wrongs
        if document is not None:
            documents.append(document)
    return Reading(tuple(documents), tuple(findings), others)


def is_other(root: Node) -> bool:
    """Whether a document belongs to somebody else: an object of another API group."""
    version, kind = _text(root, "apiVersion"), _text(root, "kind")
    return bool(version) and bool(kind) and version.partition("/")[0] != _GROUP


def read_kind(shape: Shape, root: Node, kind: str) -> tuple[Any, tuple[Finding, ...]]:
    """A document of one of Picket's kinds; for another kind only that is said, not each of its keys."""
    found = _text(root, "kind")
    if _text(root, "apiVersion") == API_VERSION and found and found != kind:
        return None, (wrong(root.place, "kind", f"{found[:80]!r} where {kind} is wanted"),)
    return read_value(shape, root)


def _text(node: Node, key: str) -> str:
    value = node.get(key) if isinstance(node, MappingNode) else None
    return value.text if isinstance(value, Scalar) and value.kind is Kind.TEXT else ""


def policy_of(documents: Iterable[TrafficPolicy], *, revision: int = 0, default_mode: Mode = Mode.LEARN) -> Policy:
    """The policy that documents mean; several documents of one service add up, the last mode counts."""
    rules: dict[ServiceName, list[Rule]] = {}
    modes: dict[ServiceName, Mode] = {}
    for document in documents:
        rules.setdefault(document.service, []).extend(rule for _, rule in document.expanded())
        if document.mode is not None:
            modes[document.service] = document.mode
    services = {name: ServicePolicy(name, tuple(sorted(merge(listed), key=rule_order)), revision) for name, listed in rules.items()}
    return Policy(revision, services, modes, default_mode)


def documents_of(
    policy: Policy,
    protocols: Mapping[ServiceName, Mapping[int, str]] | None = None,
    leases: Mapping[Held, Lease] | None = None,
) -> tuple[TrafficPolicy, ...]:
    """Documents that mean this policy, one per service that has rules or a mode of its own.

    Peers that may do the same on the same port, for the same reason, are one rule; and so are ports on which the same peers may.
    """
    names = sorted({*(name for name, listed in policy.services.items() if listed.rules), *policy.modes})
    known = protocols or {}
    held: dict[ServiceName, dict[tuple[str, int], Lease]] = {}
    for (name, source, port), lease in (leases or {}).items():
        held.setdefault(name, {})[source, port] = lease
    return tuple(
        TrafficPolicy(name, written_rules(policy.of(name).rules, known.get(name, {}), held.get(name)), policy.modes.get(name))
        for name in names
    )


def written_rules(
    rules: Iterable[Rule], protocols: Mapping[int, str], leases: Mapping[tuple[str, int], Lease] | None = None
) -> tuple[TrafficRule, ...]:
    """Rules grouped as people would write them, in a stable order. ``leases`` are by source and port."""
    members: dict[tuple[int, tuple[HttpMatch, ...], Lease | None], list[Source]] = {}
    for rule in sorted(merge(rules), key=rule_order):
        members.setdefault((rule.port, rule.http, (leases or {}).get((str(rule.source), rule.port))), []).append(rule.source)
    ports: dict[tuple[tuple[Source, ...], tuple[HttpMatch, ...], str, Lease | None], list[int]] = {}
    for (port, http, lease), sources in sorted(members.items(), key=lambda item: (item[0][:2], str(item[0][2]))):
        ports.setdefault((tuple(sources), http, protocols.get(port, ""), lease), []).append(port)
    return tuple(
        TrafficRule(tuple(map(Peer, some)), tuple(numbers), tuple(map(Request, matches)), protocol, lease)
        for (sources, http, protocol, lease), listed in ports.items()
        for some in _pieces(sources, PEERS.at_most)
        for numbers in _pieces(listed, PORTS.at_most)
        for matches in _pieces(http, REQUESTS.at_most) or [()]
    )


def _pieces(items: Sequence[Item], at_most: int) -> list[Sequence[Item]]:
    return [items[first : first + at_most] for first in range(0, len(items), at_most)]


def file_name(service: ServiceName) -> str:
    """The name of the file that a service's document goes into when it has none yet."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", f"{service.namespace}.{service.name}")
    return f"{safe}.yaml"
