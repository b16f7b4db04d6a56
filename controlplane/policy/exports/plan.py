"""What every export has to say, before it is said in a target's words: whom to restrict, who may send where, what has no name.

Pure. Kubernetes' limits for names are those of all targets, because all of them select pods.
"""

from __future__ import annotations

import enum
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import may_reach
from controlplane.policy.exports.model import Effect, Unsaid
from controlplane.policy.revise import merge
from controlplane.policy.rules import EXTERNAL_NAMESPACE, AddressSource, Mode, Policy, Rule, rule_order
from controlplane.topology.model import ServiceName, Topology, canonical_address

_NAMESPACE = re.compile(r"[a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\Z")
_LABEL = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_NO_NAME = "its name is none that a namespace and a label can have"


class Stance(enum.Enum):
    """What an export does for a service."""

    RESTRICT = "restrict"  # only what the rules hold comes in
    WATCH = "watch"  # everything comes in, what the rules do not hold is reported
    SHUT = "shut"  # nothing comes in or goes out


_STANCES = {Mode.ENFORCE: Stance.RESTRICT, Mode.AUDIT: Stance.WATCH, Mode.QUARANTINE: Stance.SHUT}


@dataclass(frozen=True, slots=True)
class Subject:
    """A service with a sidecar, and what an export does for it. ``pod_ports`` are where pods listen for its declared ports."""

    name: ServiceName
    stance: Stance
    rules: tuple[Rule, ...]
    pod_ports: Mapping[int, int]

    def pod_port(self, port: int) -> int:
        """Where pods listen for a port; the same number when it is not declared."""
        return self.pod_ports.get(port, port)


@dataclass(frozen=True, slots=True)
class Reach:
    """A service that a workload may call. ``ports`` and ``pod_ports`` are ``None`` for all; ``addresses`` where they are known."""

    name: ServiceName
    ports: frozenset[int] | None
    pod_ports: frozenset[int] | None
    meshed: bool
    addresses: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Outward:
    """Everything that a workload may call."""

    workload: WorkloadId
    reach: tuple[Reach, ...]


@dataclass(frozen=True, slots=True)
class Plan:
    """Whom to restrict, in a stable order. ``shut_out`` are workloads in quarantine; ``unsaid`` holds for every target."""

    subjects: tuple[Subject, ...]
    outward: tuple[Outward, ...]
    shut_out: tuple[WorkloadId, ...]
    unsaid: tuple[Unsaid, ...]


def plan(policy: Policy, topology: Topology, *, egress: bool) -> Plan:
    """What is to be said; without ``egress`` only about what comes in."""
    subjects: list[Subject] = []
    unsaid: list[Unsaid] = []
    for subject in _subjects(policy, topology):
        if not _has_name(subject.name.namespace, subject.name.name):
            unsaid.append(Unsaid(Effect.WIDER, f"{_NO_NAME}: nothing restricts it", subject.name))
            continue
        if subject.stance is not Stance.SHUT:
            unsaid += _shared_ports(subject)
        sayable = []
        for rule in subject.rules:
            if isinstance(rule.source, AddressSource) or _has_name(*rule.source):
                sayable.append(rule)
            else:
                unsaid.append(Unsaid(Effect.NARROWER, f"{rule.source}: {_NO_NAME}", subject.name, rule))
        subjects.append(replace(subject, rules=tuple(sayable)))
    outward: list[Outward] = []
    if egress:
        unsaid.append(Unsaid(Effect.ASSUMED, "every workload is in the topology or in a rule: others may call what they like"))
        unsaid += _outside_for_all(policy, topology)
        for workload in _senders(policy, topology):
            if policy.mode(ServiceName(*workload)) is Mode.ENFORCE and _has_name(*workload):
                reached = tuple(_reach(policy, topology, workload))
                unsaid += [
                    Unsaid(Effect.NARROWER, f"{_NO_NAME}: {workload} cannot call it", found.name)
                    for found in reached
                    if found.meshed and not _has_name(*found.name)
                ]
                outward.append(Outward(workload, tuple(f for f in reached if not f.meshed or _has_name(*f.name))))
    else:
        unsaid += [
            Unsaid(Effect.WIDER, "what goes out is not restricted: export with egress", name, rule)
            for name, rule in _outside_rules(policy, topology)
        ]
    shut_out = tuple(workload for workload in _senders(policy, topology) if policy.is_quarantined(workload))
    return Plan(tuple(subjects), tuple(outward), shut_out, tuple(unsaid))


def _has_name(namespace: str, name: str) -> bool:
    """Whether Kubernetes takes the one as a namespace and the other as a label."""
    return _NAMESPACE.match(namespace) is not None and _LABEL.match(name) is not None


def _is_meshed(name: ServiceName, topology: Topology) -> bool:
    declared = topology.services.get(name)
    return name.namespace != EXTERNAL_NAMESPACE if declared is None else declared.meshed


def _subjects(policy: Policy, topology: Topology) -> Iterator[Subject]:
    """Every service with a sidecar whose mode is more than to learn."""
    for name in sorted({*topology.services, *policy.services, *policy.modes}):
        stance = _STANCES.get(policy.mode(name))
        if stance is not None and _is_meshed(name, topology):
            rules = tuple(sorted(merge(policy.of(name).rules), key=rule_order))
            declared = topology.services.get(name)
            yield Subject(name, stance, rules, {port.number: port.target for port in declared.ports} if declared else {})


def _shared_ports(subject: Subject) -> Iterator[Unsaid]:
    """Ports behind which pods listen on the same one, so that a target cannot tell them apart."""
    by_pod_port: dict[int, set[int]] = {}
    for port in {*subject.pod_ports, *(rule.port for rule in subject.rules)}:
        by_pod_port.setdefault(subject.pod_port(port), set()).add(port)
    for pod_port, ports in sorted(by_pod_port.items()):
        allowed = {frozenset((rule.source, rule.http) for rule in subject.rules if rule.port == port) for port in ports}
        if len(allowed) > 1:
            listed = ", ".join(map(str, sorted(ports)))
            why = f"ports {listed} are the pods' port {pod_port}: who may call one may call all of them"
            yield Unsaid(Effect.WIDER, why, subject.name)


def _outside_rules(policy: Policy, topology: Topology) -> Iterator[tuple[ServiceName, Rule]]:
    for name in sorted(policy.services):
        if not _is_meshed(name, topology):
            for rule in sorted(policy.of(name).rules, key=rule_order):
                yield name, rule


def _outside_for_all(policy: Policy, topology: Topology) -> Iterator[Unsaid]:
    """Hosts with a mode of their own: a target decides by the sender's."""
    for name in sorted({*topology.services, *policy.modes}):
        if not _is_meshed(name, topology) and policy.mode(name) in {Mode.ENFORCE, Mode.QUARANTINE}:
            yield Unsaid(Effect.WIDER, "senders that do not enforce for themselves may call it all the same", name)


def _senders(policy: Policy, topology: Topology) -> tuple[WorkloadId, ...]:
    """Every workload that has a sidecar or a rule."""
    named = {rule.source for listed in policy.services.values() for rule in listed.rules if isinstance(rule.source, WorkloadId)}
    own = {workload for name in {*topology.services, *policy.modes} if _is_meshed(name, topology) and (workload := name.workload)}
    return tuple(sorted({*named, *own}))


def _reach(policy: Policy, topology: Topology, workload: WorkloadId) -> Iterator[Reach]:
    for name in sorted({*topology.services, *policy.services, *policy.modes}):
        ports = may_reach(policy, workload, name)
        if ports is None or ports:
            declared = topology.services.get(name)
            targets = {port.number: port.target for port in declared.ports} if declared else {}
            pod_ports = None if ports is None else frozenset(targets.get(port, port) for port in ports)
            literal = canonical_address(name.name)
            known = (declared.endpoints or declared.addresses) if declared else ()
            addresses = tuple(dict.fromkeys((*known, *((literal,) if literal else ()))))
            yield Reach(name, ports, pod_ports, _is_meshed(name, topology), addresses)
