"""Parity: what sidecars said of each use, held against `policy.evaluate` under what held in that hour. Pure.

Sidecars take a change a moment after it holds, and a use counts in the hour of its end: where what held changed in an hour or close
to it, every version may decide. What cannot be judged is counted with its cause, and never taken for agreement.
"""

from __future__ import annotations

import enum
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane.flows.model import EdgeKey, HourlyFlow, Verdict
from controlplane.graph.chart import deciding_mode
from controlplane.graph.evidence import HOUR_MS
from controlplane.graph.ledger import UNSAYABLE
from controlplane.graph.replay import Replayer
from controlplane.policy.evaluate import Allowed, Denied, Outcome, Request, WouldDeny, evaluate_egress, parse_deny_id
from controlplane.policy.rules import Mode, Policy, Rule
from controlplane.policy.timeline import Held, held_within
from controlplane.topology.model import Topology

#: Within this time sidecars take a change, and their clocks differ by less.
LAG_MS = 120_000


class Cause(enum.StrEnum):
    """Why a use is not judged."""

    CHANGED = "changed"  # what held changed in or about that hour, and what the sidecar said fits a part of it
    NO_SIDECAR = "no-sidecar"  # no sidecar told it, or it was stored before that was kept
    NOT_KEPT = "not-kept"  # the revision and the modes of then are not known
    NEVER_PASSED = "never-passed"  # Envoy refused it by itself, whatever is allowed
    UNREAD = "unread"  # it names no workload or service
    UNTOLD = "untold"  # its path was not kept


@dataclass(frozen=True, slots=True)
class Word:
    """What somebody says of a use: the verdict, and the deny ID or the rule, empty where there is none."""

    verdict: Verdict
    deny_id: str = ""
    rule: Rule | None = None


@dataclass(frozen=True, slots=True)
class Disagreement:
    """An edge of which a sidecar said something else than the policy in force: how often, in which hours first and last.

    ``direction`` is whose sidecar: the destination's (``in``) or the source's (``out``). ``revision`` and ``mode`` decided last.
    """

    edge: EdgeKey
    direction: str
    reported: Word
    evaluated: Word
    revision: int
    mode: Mode
    count: int
    first_hour: int
    last_hour: int


@dataclass(frozen=True, slots=True)
class Parity:
    """``flows`` were read; in ``agreed`` uses both say the same. Disagreements most used first; ``unjudged`` are uses by cause."""

    flows: int
    agreed: int
    disagreements: tuple[Disagreement, ...]
    unjudged: Mapping[Cause, int]

    @property
    def disagreed(self) -> int:
        """Uses of which both say something else."""
        return sum(found.count for found in self.disagreements)


def parity(
    held: Sequence[Held], policy_of: Callable[[int], Policy | None], topology: Topology, flows: Iterable[HourlyFlow]
) -> Parity:
    """Hold stored flows, newest hour first, against what held (`policy.timeline`).

    ``policy_of`` gives the rules of a revision, or ``None`` when it is not kept. ``topology`` says where no sidecar stands.
    """
    judges = _Judges(held, policy_of, topology)
    agreed = seen = 0
    found: dict[tuple[object, ...], Disagreement] = {}
    unjudged: dict[Cause, int] = {}
    for flow in flows:
        seen += 1
        verdict = _judged(flow, judges)
        if verdict is None:
            agreed += flow.count
        elif isinstance(verdict, Cause):
            unjudged[verdict] = unjudged.get(verdict, 0) + flow.count
        else:
            key = (verdict.edge, verdict.direction, verdict.reported, verdict.evaluated)
            known = found.get(key)
            found[key] = verdict if known is None else _joined(known, verdict)
    listed = sorted(found.values(), key=lambda one: (-one.count, one.edge, one.direction, one.reported.verdict))
    return Parity(seen, agreed, tuple(listed), unjudged)


@dataclass(frozen=True, slots=True)
class _Judge:
    """One policy that held, and what it says of edges at either end."""

    policy: Policy
    at_destination: Replayer
    at_source: Replayer

    def outcome(self, flow: HourlyFlow) -> Outcome | None:
        return (self.at_source if flow.direction == "out" else self.at_destination).outcome(flow.edge)


class _Judges:
    """The judges of an hour; those of the last hour are kept, for most hours have the same."""

    def __init__(self, held: Sequence[Held], policy_of: Callable[[int], Policy | None], topology: Topology) -> None:
        self._held = held
        self._policy_of = policy_of
        self._topology = topology
        self._hour = -1
        self._now: Sequence[_Judge] | None = ()
        self._kept: dict[int, Sequence[_Judge] | None] = {}

    def of(self, hour: int) -> Sequence[_Judge] | None:
        """Those that may have decided in an hour, newest last; ``None`` when one of them is not known."""
        if hour != self._hour:
            self._hour, self._now = hour, self._made(hour)
        return self._now

    def _made(self, hour: int) -> Sequence[_Judge] | None:
        found = held_within(self._held, hour * HOUR_MS - LAG_MS, (hour + 1) * HOUR_MS + LAG_MS)
        before, self._kept = self._kept, {}
        for one in found:
            self._kept[one.from_ms] = before[one.from_ms] if one.from_ms in before else self._judges_of(one)
        made = list(self._kept.values())
        return [judge for judges in made for judge in judges or ()] if made and None not in made else None

    def _judges_of(self, held: Held) -> Sequence[_Judge] | None:
        known = [self._policy_of(number) for number in sorted({held.revision, *held.beside})]
        several = [rules for rules in known if rules is not None]
        if len(several) < len(known):
            return None
        modes = [held.modes]
        if held.trial:
            modes.insert(0, {**held.modes, **dict.fromkeys(held.trial, Mode.ENFORCE)})
        policies = [replace(rules, modes=each, default_mode=held.default_mode) for rules in several for each in modes]
        return [_Judge(policy, Replayer(policy), Replayer(policy, self._at_source)) for policy in policies]

    def _at_source(self, policy: Policy, request: Request) -> Outcome:
        service = self._topology.services.get(request.destination)
        return evaluate_egress(policy, request, sees_requests=service is None or not service.meshed)


def _judged(flow: HourlyFlow, judges: _Judges) -> Disagreement | Cause | None:
    """``None`` when both say the same."""
    if not flow.direction:
        return Cause.NO_SIDECAR
    if flow.edge.path == UNSAYABLE:
        return Cause.UNTOLD
    if flow.verdict is Verdict.DENIED and not flow.deny_id:
        return Cause.NEVER_PASSED
    several = judges.of(flow.hour)
    if several is None:
        return Cause.NOT_KEPT
    fitting, outcomes = 0, []
    for judge in several:
        outcome = judge.outcome(flow)
        if outcome is None:
            return Cause.UNREAD
        outcomes.append(outcome)
        fitting += _fits(flow, outcome)
    if fitting:
        return None if fitting == len(outcomes) else Cause.CHANGED
    policy, reported = several[-1].policy, Word(flow.verdict, flow.deny_id)
    mode = deciding_mode(policy, flow.edge.source, flow.edge.destination)
    place = flow.count, flow.hour, flow.hour
    return Disagreement(flow.edge, flow.direction, reported, _word(outcomes[-1]), policy.revision, mode, *place)


def _fits(flow: HourlyFlow, outcome: Outcome) -> bool:
    """Whether a sidecar said what is meant. It may name a later revision: denials that Envoy cannot name get theirs on arrival."""
    if isinstance(outcome, Allowed):
        return flow.verdict is Verdict.ALLOWED
    if flow.verdict is not (Verdict.DENIED if isinstance(outcome, Denied) else Verdict.WOULD_DENY):
        return False
    said = parse_deny_id(flow.deny_id)
    return said is None or said.revision >= outcome.deny_id.revision


def _word(outcome: Outcome) -> Word:
    match outcome:
        case Allowed(rule):
            return Word(Verdict.ALLOWED, rule=rule)
        case WouldDeny(deny_id):
            return Word(Verdict.WOULD_DENY, str(deny_id))
        case Denied(deny_id):
            return Word(Verdict.DENIED, str(deny_id))


def _joined(one: Disagreement, other: Disagreement) -> Disagreement:
    last = max(one, other, key=lambda found: found.last_hour)
    return replace(last, count=one.count + other.count, first_hour=min(one.first_hour, other.first_hour))
