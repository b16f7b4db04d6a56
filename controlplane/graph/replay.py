"""What a policy would have done with stored flows: `policy.evaluate` on each, as if every service were enforced. Pure.

Never decides what a policy means. A flow stands for all uses of its edge in its hour, with one path that was seen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from controlplane.flows.model import EdgeKey, HourlyFlow, Verdict
from controlplane.identity.spiffe import SpiffeError, WorkloadId, parse_workload
from controlplane.policy.evaluate import Allowed, Outcome, Request, evaluate
from controlplane.policy.rules import AddressSource, Mode, Policy, Rule
from controlplane.topology.model import ServiceName, parse_service_name

_ADDRESS = "ip:"


def enforced(policy: Policy) -> Policy:
    """The same allow-lists with every service enforced."""
    return Policy(policy.revision, policy.services, {}, Mode.ENFORCE)


def request_of(edge: EdgeKey) -> Request | None:
    """The request that a flow was; ``None`` where its ends do not read."""
    try:
        destination = parse_service_name(edge.destination)
        if edge.source.startswith(_ADDRESS):
            address = edge.source.removeprefix(_ADDRESS)
            return Request(destination, edge.port, None, address, edge.method, edge.path)
        return Request(destination, edge.port, parse_workload(edge.source), "", edge.method, edge.path)
    except (SpiffeError, ValueError):
        return None


class Replayer:
    """Evaluates edges against one policy. Each edge is evaluated once; a destination's rules are sorted by caller and port once."""

    def __init__(self, policy: Policy, decide: Callable[[Policy, Request], Outcome] = evaluate) -> None:
        self._policy = policy
        self._decide = decide
        self._sorted: dict[ServiceName, Mapping[tuple[WorkloadId | None, int], tuple[Rule, ...]]] = {}
        self._known: dict[EdgeKey, Outcome | None] = {}

    def outcome(self, edge: EdgeKey) -> Outcome | None:
        """What would have become of it; ``None`` where the edge's ends do not read."""
        if edge not in self._known:
            request = request_of(edge)
            self._known[edge] = None if request is None else self._decide(self._narrowed(request), request)
        return self._known[edge]

    def _narrowed(self, request: Request) -> Policy:
        """The policy with only those rules of the destination that could hold the request: no other one can match it."""
        policy, service = self._policy, request.destination
        if service not in self._sorted:
            by_caller: dict[tuple[WorkloadId | None, int], list[Rule]] = {}
            for rule in policy.of(service).rules:
                source = None if isinstance(rule.source, AddressSource) else rule.source
                by_caller.setdefault((source, rule.port), []).append(rule)
            self._sorted[service] = {caller: tuple(rules) for caller, rules in by_caller.items()}
        rules = self._sorted[service].get((request.source, request.port), ())
        listed = {service: replace(policy.of(service), rules=rules)}
        if request.source is not None and (own := ServiceName(*request.source)) != service and own in policy.services:
            listed[own] = policy.services[own]  # it has the revision of what the source lets out
        return Policy(policy.revision, listed, policy.modes, policy.default_mode)


@dataclass(frozen=True, slots=True)
class HourCount:
    """Uses in one hour that would have passed and been denied. ``hour`` counts from the epoch."""

    hour: int
    allowed: int
    denied: int


@dataclass(frozen=True, slots=True)
class Refusal:
    """An edge that would have been denied: how often, in which hours first and last, and what the sidecar said last."""

    edge: EdgeKey
    deny_id: str
    count: int
    first_hour: int
    last_hour: int
    reported: Verdict


@dataclass(frozen=True, slots=True)
class Replay:
    """``flows`` were read; ``unread`` of them name no workload or service. Hours oldest first, refusals most used first."""

    flows: int
    unread: int
    hours: tuple[HourCount, ...]
    refusals: tuple[Refusal, ...]

    @property
    def allowed(self) -> int:
        """Uses that would have passed."""
        return sum(hour.allowed for hour in self.hours)

    @property
    def denied(self) -> int:
        """Uses that would have been denied."""
        return sum(hour.denied for hour in self.hours)


def replay(policy: Policy, flows: Iterable[HourlyFlow]) -> Replay:
    """What the policy would have done with stored flows, had every service been enforced."""
    outcome_of = Replayer(enforced(policy)).outcome
    hours: dict[int, list[int]] = {}
    refused: dict[EdgeKey, Refusal] = {}
    seen = unread = 0
    for flow in flows:
        seen += 1
        outcome = outcome_of(flow.edge)
        if outcome is None:
            unread += 1
            continue
        counts = hours.get(flow.hour)
        if counts is None:
            counts = hours[flow.hour] = [0, 0]
        if isinstance(outcome, Allowed):
            counts[0] += flow.count
            continue
        counts[1] += flow.count
        known = refused.get(flow.edge)
        fresh = Refusal(flow.edge, str(outcome.deny_id), flow.count, flow.hour, flow.hour, flow.verdict)
        refused[flow.edge] = fresh if known is None else _joined(known, fresh)
    counted = tuple(HourCount(hour, *counts) for hour, counts in sorted(hours.items()))
    return Replay(seen, unread, counted, tuple(sorted(refused.values(), key=lambda one: (-one.count, one.edge))))


def _joined(one: Refusal, other: Refusal) -> Refusal:
    last = max(one, other, key=lambda refusal: (refusal.last_hour, refusal.reported))
    first_hour = min(one.first_hour, other.first_hour)
    return Refusal(one.edge, one.deny_id, one.count + other.count, first_hour, last.last_hour, last.reported)
