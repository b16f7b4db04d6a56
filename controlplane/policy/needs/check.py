"""The CI gate: needs that are not approved, and changes of a policy that take away what is used. Pure: values in, findings out."""

from __future__ import annotations

import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.answers import Use
from controlplane.policy.coverage import match_covers, rule_covers, source_covers
from controlplane.policy.diff import match_text
from controlplane.policy.evaluate import http_matches
from controlplane.policy.findings import Finding, Place, Severity
from controlplane.policy.needs.document import Need, Needs
from controlplane.policy.rules import EXTERNAL_NAMESPACE, HttpMatch, Mode, Policy, Rule
from controlplane.topology.model import ServiceName, Topology

ABOUT: Mapping[str, str] = {
    "invalid": "The document does not read.",
    "need-not-approved": "A service declares an edge that no rule allows.",
    "need-partly-approved": "A service declares requests that no rule allows.",
    "need-quarantined": "A service declares an edge of which one end is in quarantine.",
    "unknown-destination": "A service declares an edge to a service that does not exist.",
    "unknown-port": "A service declares an edge to a port that its destination does not have.",
    "approved-not-declared": "A rule allows an edge that the service does not declare.",
    "used-edge-removed": "A change takes away an edge that is used.",
    "used-edge-enforced": "A change begins to enforce, and drops what is used and not approved.",
    "unread-usage": "Edges were used whose names no rule can hold.",
    "used-edge-narrowed": "A change takes away requests of an edge that is used, and it is not known which ones are.",
}
_SHOWN = 3


@dataclass(frozen=True, slots=True)
class Missing:
    """An edge to propose: what a need wants and no rule allows."""

    needs: Needs
    need: Need
    http: tuple[HttpMatch, ...]


def missing_edges(needs: Iterable[Needs], policy: Policy) -> tuple[Missing, ...]:
    """What is not approved; ``http`` empty when the whole edge is not."""
    return tuple(found for document in needs for found in _missing(document, policy))


def _missing(document: Needs, policy: Policy) -> Iterator[Missing]:
    for need, wanted in document.rules():
        rules = policy.of(need.destination).rules
        if rule_covers(rules, wanted):
            continue
        lost = tuple(m for m in wanted.http if not rule_covers(rules, Rule(wanted.source, wanted.port, (m,))))
        yield Missing(document, need, lost if len(lost) < len(wanted.http) else ())


def check_needs(needs: Iterable[Needs], policy: Policy, topology: Topology | None = None) -> Iterator[Finding]:
    """What keeps the services from what they declare."""
    for document in needs:
        for found in _missing(document, policy):
            yield _not_approved(found)
        for need in document.needs:
            yield from _surroundings(document, need, policy, topology)
        yield from _not_declared(document, policy)


def _not_approved(found: Missing) -> Finding:
    need = found.need
    edge = f"{found.needs.workload} -> {need.destination}:{need.port}"
    severity = Severity.INFO if need.optional else Severity.ERROR
    remedy = f"propose it to the owner of {need.destination}"
    if not found.http:
        return Finding("need-not-approved", severity, f"{edge} is not approved", need.place, _key(found.needs, need), remedy)
    shown = ", ".join(match_text(match) for match in found.http[:_SHOWN])
    more = f" and {len(found.http) - _SHOWN} more" if len(found.http) > _SHOWN else ""
    message = f"{edge} is approved, but not {shown}{more}"
    return Finding("need-partly-approved", severity, message, need.place, _key(found.needs, need), remedy)


def _key(document: Needs, need: Need) -> str:
    return f"needs[{next(index for index, other in enumerate(document.needs) if other is need)}]"


def _surroundings(document: Needs, need: Need, policy: Policy, topology: Topology | None) -> Iterator[Finding]:
    key = _key(document, need)
    if policy.is_quarantined(document.workload) or policy.mode(need.destination) is Mode.QUARANTINE:
        message = f"{document.workload} or {need.destination} is in quarantine"
        yield Finding("need-quarantined", Severity.WARNING, message, need.place, key, "ask who set it")
    if topology is None or need.destination.namespace == EXTERNAL_NAMESPACE:
        return
    service = topology.services.get(need.destination)
    if service is None:
        message = f"{need.destination} does not exist"
        yield Finding("unknown-destination", Severity.WARNING, message, need.place, key, "check the name and its namespace")
    elif service.ports and service.port(need.port) is None:
        known = ", ".join(str(port.number) for port in service.ports)
        message = f"{need.destination} does not declare port {need.port}"
        yield Finding("unknown-port", Severity.WARNING, message, need.place, key, f"it declares {known}")


def _not_declared(document: Needs, policy: Policy) -> Iterator[Finding]:
    declared = {(need.destination, need.port) for need in document.needs}
    for name, listed in sorted(policy.services.items()):
        ports = sorted({rule.port for rule in listed.rules if rule.source == document.workload})
        for port in ports:
            if (name, port) not in declared:
                message = f"{document.workload} -> {name}:{port} is approved, but not declared"
                remedy = "declare it, or ask to remove the rule"
                yield Finding("approved-not-declared", Severity.INFO, message, document.place, "needs", remedy)


@dataclass(frozen=True, slots=True)
class Change:
    """A policy before and after; ``places`` says where the document of a service is."""

    before: Policy
    after: Policy
    places: Mapping[ServiceName, Place]
    file: str = ""


def check_removals(change: Change, uses: Iterable[Use], now_ms: int, days: int) -> Iterator[Finding]:
    """Edges used within the last so many days that the change takes away. Times are Unix milliseconds."""
    since_ms = now_ms - int(datetime.timedelta(days=days).total_seconds() * 1000)
    for use in uses:
        if use.last_seen_ms < since_ms:
            continue
        before, after = _near(change.before, use), _near(change.after, use)
        enforces = not _drops(change.before, use) and _drops(change.after, use)
        for match in use.http or (HttpMatch(),):
            lost = _lost(before, after, match, enforces=enforces)
            if lost:
                yield _removed(change, use, match, lost, now_ms)


def _drops(policy: Policy, use: Use) -> bool:
    """Whether what no rule allows is dropped."""
    return policy.mode(use.destination) in {Mode.ENFORCE, Mode.QUARANTINE} or _is_shut(policy, use)


def _is_shut(policy: Policy, use: Use) -> bool:
    """Whether everything is dropped, whatever the rules say."""
    quarantined = isinstance(use.source, WorkloadId) and policy.is_quarantined(use.source)
    return quarantined or policy.mode(use.destination) is Mode.QUARANTINE


def _near(policy: Policy, use: Use) -> list[Rule]:
    rules = () if _is_shut(policy, use) else policy.of(use.destination).rules
    return [rule for rule in rules if rule.port == use.port and source_covers(rule.source, use.source)]


def _lost(before: list[Rule], after: list[Rule], match: HttpMatch, *, enforces: bool) -> str:
    """The rule that a change breaks for a use; empty when it breaks none."""
    held, holds = _compatible(before, match), _compatible(after, match)
    if not holds:
        return "used-edge-removed" if held else "used-edge-enforced" if enforces else ""
    if not held:
        return ""
    if match.path or not match.method:
        return ""
    # Only the method was seen: whatever was allowed before may be what is used.
    return "" if all(any(match_covers(now, then) for now in holds) for then in held) else "used-edge-narrowed"


def _compatible(rules: list[Rule], match: HttpMatch) -> list[HttpMatch]:
    """The matches of some rules that a use may have passed by."""
    listed = [other for rule in rules for other in rule.http or (HttpMatch(),)]
    if not match.method and not match.path:
        return [other for other in listed if other == HttpMatch()]
    if not match.path:
        return [other for other in listed if other.method in {"", match.method}]
    if match.is_prefix or match.is_template:
        return [other for other in listed if match_covers(other, match)]
    return [other for other in listed if http_matches(other, match.method, match.path)]


def _removed(change: Change, use: Use, match: HttpMatch, rule: str, now_ms: int) -> Finding:
    asked = f" {match_text(match)}" if match.method or match.path else ""
    what = f"{use.source} -> {use.destination}:{use.port}{asked}"
    ago = _ago(now_ms - use.last_seen_ms)
    place = change.places.get(use.destination, Place(change.file))
    if rule != "used-edge-narrowed":
        message = f"{what} was used {ago} ({use.count} times in all), and this change denies it"
        keep = "keep the rule until the edge is no longer used" if rule == "used-edge-removed" else "approve it first, or wait"
        return Finding(rule, Severity.ERROR, message, place, "", keep)
    message = f"{what} was used {ago} on paths that are not known, and this change allows fewer"
    return Finding(rule, Severity.WARNING, message, place, "", "check which paths are used")


def _ago(milliseconds: int) -> str:
    for size, unit in ((86_400_000, "d"), (3_600_000, "h"), (60_000, "min")):
        if milliseconds >= 2 * size:
            return f"{milliseconds // size} {unit} ago"
    return "just now"
