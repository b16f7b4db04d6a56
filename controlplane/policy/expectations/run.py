"""Evaluates expectations against a policy, and says why each came out as it did. Pure; `policy.evaluate` decides."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, Denied, Reason, Request, egress_mode, evaluate, may_reach, rule_matches
from controlplane.policy.expectations.document import ALLOW, DENY, WOULD_DENY, Expectation, Sent, Source
from controlplane.policy.explain import nearest
from controlplane.policy.reports.junit import Case
from controlplane.policy.rules import EXTERNAL_NAMESPACE, Mode, Policy
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.topology.model import ServiceName, Topology


@dataclass(frozen=True, slots=True)
class Outcome:
    """What became of one source and one request of a case, and why."""

    case: Expectation
    source: Source
    sent: Sent
    verdict: str
    why: str

    @property
    def met(self) -> bool:
        """Whether it is as expected."""
        return self.verdict == self.case.verdict


def run(
    cases: Iterable[Expectation], policy: Policy, documents: Iterable[TrafficPolicy], topology: Topology | None = None
) -> Iterator[Outcome]:
    """Every source and request of every case, in order; ``documents`` say where a rule is written.

    The topology tells which services have no sidecar of their own; without it those of the namespace ``external``.
    """
    by_service: dict[ServiceName, list[TrafficPolicy]] = {}
    for document in documents:
        by_service.setdefault(document.service, []).append(document)
    for case in cases:
        outward = _is_outside(case.destination, topology)
        for source in case.sources:
            for sent in case.requests:
                if outward and source.workload is not None:
                    yield Outcome(case, source, sent, *_outward(case, source.workload, policy))
                else:
                    yield _outcome(case, source, sent, policy, by_service.get(case.destination, []))


def _is_outside(name: ServiceName, topology: Topology | None) -> bool:
    declared = topology.services.get(name) if topology is not None else None
    return name.namespace == EXTERNAL_NAMESPACE if declared is None else not declared.meshed


def _outcome(case: Expectation, source: Source, sent: Sent, policy: Policy, documents: list[TrafficPolicy]) -> Outcome:
    request = Request(case.destination, case.port, source.workload, source.address, sent.method, sent.path)
    found = evaluate(policy, request)
    if isinstance(found, Allowed):
        why = _where(documents, request) if found.rule is not None else f"{case.destination} is in learn: everything passes"
        return Outcome(case, source, sent, ALLOW, why)
    verdict = DENY if isinstance(found, Denied) else WOULD_DENY
    if found.deny_id.reason is Reason.QUARANTINE:
        return Outcome(case, source, sent, verdict, "the destination or the source is in quarantine")
    return Outcome(case, source, sent, verdict, nearest(policy, request))


def _outward(case: Expectation, workload: WorkloadId, policy: Policy) -> tuple[str, str]:
    """A host outside the mesh has no sidecar: the source's own decides."""
    mode = egress_mode(policy, workload, case.destination)
    if policy.is_quarantined(workload) or mode is Mode.QUARANTINE:
        return DENY, "the destination or the source is in quarantine"
    ports = may_reach(policy, workload, case.destination)
    approved = any(rule.source == workload and rule.port == case.port for rule in policy.of(case.destination).rules)
    if approved:
        return ALLOW, f"{case.destination} is an approved host of {workload}"
    if ports is None:
        verdict = ALLOW if mode is Mode.LEARN else WOULD_DENY
        return verdict, f"{workload} is in {mode}: hosts that are not approved pass"
    return DENY, f"{case.destination}:{case.port} is not an approved host of {workload}"


def _where(documents: list[TrafficPolicy], request: Request) -> str:
    for document in documents:
        for written, rule in document.expanded():
            if rule_matches(rule, request):
                return f"{written.place.file}:{written.place.line}"
    return "a rule"


def _title(outcome: Outcome) -> str:
    case = outcome.case
    call = " ".join(filter(None, (f"{outcome.source} -> {case.destination}:{case.port}", str(outcome.sent))))
    return f"{case.name}: {call}" if case.name else f"{call} is {case.verdict}"


def junit_cases(outcomes: Iterable[Outcome]) -> list[Case]:
    """The outcomes as test results."""
    return [
        Case(
            outcome.case.place.file,
            _title(outcome),
            outcome.case.place.file,
            outcome.case.place.line,
            "" if outcome.met else f"expected {outcome.case.verdict}, but {outcome.verdict}: {outcome.why}",
        )
        for outcome in outcomes
    ]
