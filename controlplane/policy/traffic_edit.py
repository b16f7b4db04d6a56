"""Brings written `TrafficPolicy` documents up to a policy with the fewest changes: what still holds keeps its place and comments.

Pure; never adds to a rule that somebody answers for: what is new becomes a rule of its own, at the end.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.findings import Finding, Place, Severity
from controlplane.policy.revise import merge
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule
from controlplane.policy.traffic_documents import documents_in, is_other, written_rules
from controlplane.policy.traffic_policy import TrafficPolicy, TrafficRule
from controlplane.policy.traffic_shape import TRAFFIC_POLICY
from controlplane.policy.traffic_text import arrange, entry, listed, rule_part
from controlplane.policy.written.comments import Part, annotate
from controlplane.policy.written.source import read_source
from controlplane.policy.written.tree import Scalar
from controlplane.policy.written.writer import write
from controlplane.topology.model import ServiceName

#: What one source may do on one port; empty is everything.
_Key = tuple[WorkloadId | AddressSource, int]
_Wanted = dict[_Key, frozenset[HttpMatch]]


@dataclass(frozen=True, slots=True)
class Updated:
    """A file's new text, and the services that its documents are about."""

    text: str
    services: tuple[ServiceName, ...]


def update(
    body: bytes, file: str, policy: Policy, protocols: Mapping[ServiceName, Mapping[int, str]] | None = None
) -> Updated | tuple[Finding, ...]:
    """The file with every document meaning what the policy says of its service; findings when it cannot be done safely."""
    source = read_source(body, file)
    if isinstance(source, Finding):
        return (source,)
    reading = documents_in(source)
    if reading.findings:
        return reading.findings
    twice = _twice(reading.documents)
    if reading.others or twice:
        what = f"two documents of {twice}" if twice else "documents of other kinds"
        return (Finding("not-updated", Severity.ERROR, f"holds {what}", Place(file), remedy="give each a file of its own"),)
    annotated = annotate(source)
    parts = [part for root, part in zip(source.documents, annotated.documents, strict=True) if not is_other(root)]
    for document, part in zip(reading.documents, parts, strict=True):
        arrange(part, TRAFFIC_POLICY)
        known = (protocols or {}).get(document.service, {})
        _bring_up(part, document, policy.of(document.service).rules, policy.modes.get(document.service), known)
    return Updated(write(annotated), tuple(document.service for document in reading.documents))


def _twice(documents: Iterable[TrafficPolicy]) -> ServiceName | None:
    seen: set[ServiceName] = set()
    for document in documents:
        if document.service in seen:
            return document.service
        seen.add(document.service)
    return None


def _bring_up(part: Part, document: TrafficPolicy, rules: Iterable[Rule], mode: Mode | None, protocols: Mapping[int, str]) -> None:
    spec = _child(part, "spec")
    assert isinstance(spec.value, list)
    if document.mode is not None and mode is not None and mode is not document.mode:
        old = _child(spec, "mode")
        old.value = entry("mode", str(mode)).value
    wanted: _Wanted = {(rule.source, rule.port): frozenset(rule.http) for rule in merge(rules)}
    items = next((child for child in spec.value if child.key is not None and child.key.text == "rules"), None)
    if items is None:
        items = listed("rules", [])
        spec.value.append(items)
    assert isinstance(items.value, list)
    kept: list[Part] = []
    missing: dict[_Key, frozenset[HttpMatch] | None] = {key: http or None for key, http in wanted.items()}
    for item, written in zip(items.value, document.rules, strict=True):
        left = _still_wanted(item, written, wanted)
        if left is not None:
            kept.append(item)
            _take_off(missing, left)
    lost = [Rule(source, port, tuple(sorted(http or ()))) for (source, port), http in missing.items()]
    items.value = [*kept, *(rule_part(rule) for rule in written_rules(lost, protocols))]


def _child(part: Part, key: str) -> Part:
    assert isinstance(part.value, list)
    return next(child for child in part.value if child.key is not None and child.key.text == key)


def _still_wanted(item: Part, written: TrafficRule, wanted: _Wanted) -> TrafficRule | None:
    """What of a written rule stays, with the item cut down to it; ``None`` when nothing does."""
    http = frozenset(request.match for request in written.http) - {HttpMatch()} if not _is_whole(written) else frozenset()

    def holds(source: WorkloadId | AddressSource, port: int) -> bool:
        may = wanted.get((source, port))
        return may is not None and (http == may if not (http and may) else http <= may)

    for_all_ports = [index for index, peer in enumerate(written.peers) if all(holds(peer.source, port) for port in written.ports)]
    for_all_peers = [index for index, port in enumerate(written.ports) if all(holds(peer.source, port) for peer in written.peers)]
    if for_all_ports:
        _keep(_child(item, "from"), for_all_ports)
        return TrafficRule(tuple(written.peers[index] for index in for_all_ports), written.ports, written.http)
    if for_all_peers:
        _keep(_child(item, "ports"), for_all_peers)
        return TrafficRule(written.peers, tuple(written.ports[index] for index in for_all_peers), written.http)
    return None


def _is_whole(written: TrafficRule) -> bool:
    return not written.http or any(request.match == HttpMatch() for request in written.http)


def _keep(part: Part, indexes: list[int]) -> None:
    assert not isinstance(part.value, Scalar)
    part.value = [part.value[index] for index in indexes]


def _take_off(missing: dict[_Key, frozenset[HttpMatch] | None], kept: TrafficRule) -> None:
    """Remove what a kept rule gives; ``None`` stands for everything."""
    for rule in kept.rules():
        key = (rule.source, rule.port)
        if key not in missing:
            continue
        rest = missing[key]
        if rest is None:
            del missing[key]  # only a rule without methods and paths is kept for one that wants everything
        elif not (left := rest - frozenset(rule.http)):
            del missing[key]
        else:
            missing[key] = left
