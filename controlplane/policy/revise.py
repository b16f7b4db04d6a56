"""The next revision of a policy: which services it changes, and what it takes away. Pure; never stores or publishes."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping
from dataclasses import replace

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import HttpMatch, Policy, Rule, ServicePolicy, rule_order
from controlplane.topology.model import ServiceName

#: Rules per service. Those that are the very tuple of the policy in force are known to be unchanged without a look at them.
RuleSets = Mapping[ServiceName, Collection[Rule]]


def rule_sets(policy: Policy) -> dict[ServiceName, Collection[Rule]]:
    """Every service's rules."""
    return {name: listed.rules for name, listed in policy.services.items()}


def merge(rules: Iterable[Rule]) -> frozenset[Rule]:
    """One rule per source and port: any, or the union of its methods and paths."""
    merged: dict[tuple[object, int], Rule] = {}
    for rule in rules:
        key = (rule.source, rule.port)
        before = merged.get(key)
        if before is None:
            merged[key] = Rule(rule.source, rule.port, () if _is_whole(rule) else tuple(sorted(set(rule.http))))
        elif _is_whole(before) or _is_whole(rule):
            merged[key] = Rule(rule.source, rule.port)
        else:
            merged[key] = Rule(rule.source, rule.port, tuple(sorted({*before.http, *rule.http})))
    return frozenset(merged.values())


def added(current: RuleSets, additions: Iterable[tuple[ServiceName, Rule]]) -> dict[ServiceName, Collection[Rule]]:
    """The rules with more of them."""
    more: dict[ServiceName, list[Rule]] = {}
    for service, rule in additions:
        more.setdefault(service, []).append(rule)
    return {**current, **{name: merge((*current.get(name, ()), *rules)) for name, rules in more.items()}}


def taken(current: RuleSets, removals: Iterable[tuple[ServiceName, Rule]]) -> dict[ServiceName, Collection[Rule]]:
    """The rules without what some of them allow: all of it where the rule does not say methods and paths."""
    wanted: dict[ServiceName, Collection[Rule]] = dict(current)
    for service, removal in removals:
        ends = (removal.source, removal.port)
        rules = [rule for rule in wanted.get(service, ()) if (rule.source, rule.port) != ends]
        for rule in wanted.get(service, ()):
            left = () if _is_whole(removal) else tuple(match for match in rule.http if match not in removal.http)
            if (rule.source, rule.port) == ends and left:
                rules.append(Rule(rule.source, rule.port, left))
        wanted[service] = merge(rules)
    return wanted


def revise(current: Policy, wanted: RuleSets, revision: int) -> Policy:
    """The policy with these rules, as this revision.

    A service whose rules are the same keeps its revision, so that nothing is pushed to it. A source whose reach changed
    gets a new egress revision; a port that lost a peer, or part of what a peer may do, remembers when, and so does the source.
    """
    names = {*current.services, *wanted}
    services: dict[ServiceName, ServicePolicy] = {}
    touched_sources: dict[ServiceName, dict[int, int]] = {}  # and what each lost: the revision, by port
    for name in names:
        before = current.of(name)
        listed = wanted.get(name, ())
        if listed is before.rules:
            services[name] = before
            continue
        old, new = frozenset(before.rules), frozenset(listed)
        if old == new:
            services[name] = before
            continue
        for rule in old ^ new:
            if isinstance(rule.source, WorkloadId):
                touched_sources.setdefault(ServiceName(*rule.source), {})
        revoked = dict(before.revoked)
        for rule in old - new:
            if not _still_covers(new, rule):
                revoked[rule.port] = revision
                if isinstance(rule.source, WorkloadId):
                    touched_sources[ServiceName(*rule.source)][rule.port] = revision
        services[name] = replace(before, rules=tuple(sorted(new, key=rule_order)), revision=revision, revoked=revoked)
    for name, lost in touched_sources.items():
        source = services.get(name) or ServicePolicy(name)
        services[name] = replace(source, egress_revision=revision, egress_revoked={**source.egress_revoked, **lost})
    return Policy(revision, services, current.modes, current.default_mode)


def _still_covers(rules: frozenset[Rule], lost: Rule) -> bool:
    """Whether the same source keeps all that a rule gave it on its port."""
    kept = [rule for rule in rules if rule.source == lost.source and rule.port == lost.port]
    if any(_is_whole(rule) for rule in kept):
        return True
    return not _is_whole(lost) and {*lost.http} <= {match for rule in kept for match in rule.http}


def _is_whole(rule: Rule) -> bool:
    return not rule.http or HttpMatch() in rule.http


def changed_services(before: Policy, after: Policy) -> frozenset[ServiceName]:
    """Services whose own configuration differs between two policies, as destination or as source."""
    names = {*before.services, *after.services, *before.modes, *after.modes}
    return frozenset(
        name for name in names if before.services.get(name) != after.services.get(name) or before.mode(name) is not after.mode(name)
    )
