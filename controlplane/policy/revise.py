"""The next revision of a policy: which services it changes, and what it takes away. Pure; never stores or publishes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import HttpMatch, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName

RuleSets = Mapping[ServiceName, frozenset[Rule]]


def rule_sets(policy: Policy) -> dict[ServiceName, frozenset[Rule]]:
    """Every service's rules."""
    return {name: frozenset(listed.rules) for name, listed in policy.services.items()}


def merge(rules: Iterable[Rule]) -> frozenset[Rule]:
    """One rule per source and port: any, or the union of its methods and paths."""
    merged: dict[tuple[object, int], Rule] = {}
    for rule in rules:
        key = (rule.source, rule.port)
        before = merged.get(key)
        if before is None:
            merged[key] = Rule(rule.source, rule.port, tuple(sorted(set(rule.http))))
        elif not before.http or not rule.http:
            merged[key] = Rule(rule.source, rule.port)
        else:
            merged[key] = Rule(rule.source, rule.port, tuple(sorted({*before.http, *rule.http})))
    return frozenset(merged.values())


def added(current: RuleSets, additions: Iterable[tuple[ServiceName, Rule]]) -> dict[ServiceName, frozenset[Rule]]:
    """The rules with more of them."""
    wanted = {name: set(rules) for name, rules in current.items()}
    for service, rule in additions:
        wanted.setdefault(service, set()).add(rule)
    return {name: merge(rules) for name, rules in wanted.items()}


def revise(current: Policy, wanted: RuleSets, revision: int) -> Policy:
    """The policy with these rules, as this revision.

    A service whose rules are the same keeps its revision, so that nothing is pushed to it. A source whose reach changed
    gets a new egress revision; a port that lost a peer, or part of what a peer may do, remembers when.
    """
    names = {*current.services, *wanted}
    services: dict[ServiceName, ServicePolicy] = {}
    touched_sources: set[ServiceName] = set()
    for name in names:
        before = current.of(name)
        old, new = frozenset(before.rules), frozenset(wanted.get(name, frozenset()))
        if old == new:
            services[name] = before
            continue
        for rule in old ^ new:
            if isinstance(rule.source, WorkloadId):
                touched_sources.add(ServiceName(rule.source.namespace, rule.source.account))
        revoked = dict(before.revoked)
        for rule in old - new:
            if not _still_covers(new, rule):
                revoked[rule.port] = revision
        services[name] = ServicePolicy(name, tuple(sorted(new, key=repr)), revision, before.egress_revision, revoked)
    for name in touched_sources:
        listed = services.get(name) or ServicePolicy(name)
        services[name] = ServicePolicy(name, listed.rules, listed.revision, revision, listed.revoked)
    return Policy(revision, services, current.modes, current.default_mode)


def _still_covers(rules: frozenset[Rule], lost: Rule) -> bool:
    """Whether the same source keeps all that a rule gave it on its port."""
    for rule in rules:
        if rule.source == lost.source and rule.port == lost.port:
            return not rule.http or (bool(lost.http) and _subset(lost.http, rule.http))
    return False


def _subset(smaller: Iterable[HttpMatch], larger: Iterable[HttpMatch]) -> bool:
    return set(smaller) <= set(larger)


def changed_services(before: Policy, after: Policy) -> frozenset[ServiceName]:
    """Services whose own configuration differs between two policies, as destination or as source."""
    names = {*before.services, *after.services, *before.modes, *after.modes}
    return frozenset(
        name
        for name in names
        if before.services.get(name) != after.services.get(name) or before.mode(name) is not after.mode(name)
    )
