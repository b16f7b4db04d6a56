"""Why a request passes or not: whose sidecar decides, by which rule, or what comes closest to one. Pure; `evaluate` decides."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, Denied, Outcome, Reason, Request, evaluate, evaluate_egress
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule
from controlplane.topology.model import ServiceName

#: Names that a sentence lists.
_LISTED = 3


@dataclass(frozen=True, slots=True)
class Explanation:
    """What becomes of a request, whether the source's own sidecar decides (or else the destination's), and why, in words."""

    request: Request
    outcome: Outcome
    is_at_source: bool
    text: str

    @property
    def verdict(self) -> str:
        """In a word: allowed, would-deny or denied."""
        if isinstance(self.outcome, Allowed):
            return "allowed"
        return "denied" if isinstance(self.outcome, Denied) else "would-deny"


def request_from(source: WorkloadId | AddressSource, destination: ServiceName, port: int, method: str, path: str) -> Request:
    """The request of a source as rules write it."""
    if isinstance(source, AddressSource):
        return Request(destination, port, None, source.cidr.partition("/")[0], method, path)
    return Request(destination, port, source, "", method, path)


def explain(policy: Policy, request: Request, *, is_guarded: bool) -> Explanation:
    """Follow a request from sidecar to sidecar. ``is_guarded``: one stands at the destination; else the source's decides alone."""
    outward = evaluate_egress(policy, request, sees_requests=not is_guarded)
    if isinstance(outward, Denied) or not is_guarded:
        return Explanation(request, outward, is_at_source=True, text=_why(policy, request, outward))
    inward = evaluate(policy, request)
    return Explanation(request, inward, is_at_source=False, text=_why(policy, request, inward))


def _why(policy: Policy, request: Request, outcome: Outcome) -> str:
    if isinstance(outcome, Allowed):
        if outcome.rule is None:
            return f"no rule holds it, and in mode learn everything passes and is seen; {nearest(policy, request)}"
        return f"a rule of {request.destination} holds it: {rule_text(outcome.rule)}"
    if outcome.deny_id.reason is Reason.QUARANTINE or policy.mode(request.destination) is Mode.QUARANTINE:
        return "the destination or the source is in quarantine"
    return nearest(policy, request)


def rule_text(rule: Rule) -> str:
    """A rule in words."""
    asked = _some(match_words(match) for match in rule.http) if rule.http else "whatever it sends"
    return f"{rule.source} may call port {rule.port}: {asked}"


def nearest(policy: Policy, request: Request) -> str:
    """What comes closest to a rule that would hold a request, so that a reader sees what is missing."""
    rules = policy.of(request.destination).rules
    if not rules:
        return f"{request.destination} has no rules"
    same = [rule for rule in rules if rule.source == request.source]
    here = [rule for rule in same if rule.port == request.port]
    if here:
        return f"{request.source} may only {_some(match_words(match) for rule in here for match in rule.http)}"
    if same:
        return f"{request.source} may only call port {_some(str(rule.port) for rule in same)}"
    callers = [rule for rule in rules if rule.port == request.port]
    if callers:
        return f"port {request.port} is for {_some(str(rule.source) for rule in callers)}"
    return f"no rule opens port {request.port}"


def match_words(match: HttpMatch) -> str:
    """A method and a path in words."""
    return f"{match.method or 'any method'} {match.path or 'any path'}"


def _some(names: Iterable[str]) -> str:
    listed = list(dict.fromkeys(names))
    more = f" and {len(listed) - _LISTED} more" if len(listed) > _LISTED else ""
    return ", ".join(listed[:_LISTED]) + more
