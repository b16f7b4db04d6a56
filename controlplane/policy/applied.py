"""What applying documents to a policy gives: rules and modes of the services that they name, all others untouched. Pure."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass

from controlplane.policy.diff import RuleChange, diff
from controlplane.policy.revise import RuleSets, rule_sets
from controlplane.policy.rules import Mode, Policy, Rule, ServicePolicy
from controlplane.policy.traffic_documents import policy_of
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.topology.model import ServiceName


@dataclass(frozen=True, slots=True)
class ModeChange:
    """A service's mode before and after."""

    service: ServiceName
    before: Mode
    after: Mode


@dataclass(frozen=True, slots=True)
class Applied:
    """What would be in force: the rules to revise to, each mode that changes, and what differs.

    ``unnamed`` are services that have rules and no document: they keep them, or lose them when pruned.
    """

    rules: RuleSets
    policy: Policy
    changes: tuple[RuleChange, ...]
    modes: tuple[ModeChange, ...]
    unnamed: tuple[ServiceName, ...]

    @property
    def is_same(self) -> bool:
        """Whether nothing would change."""
        return not self.changes and not self.modes


def applied(current: Policy, documents: Iterable[TrafficPolicy], *, prune: bool = False) -> Applied:
    """The policy with each document's service as the document says; with ``prune`` no rules for services without one.

    A rule set that stays the same is the very tuple of the current policy, so that `revise` publishes nothing for it.
    """
    listed = list(documents)
    wanted = policy_of(listed)
    rules: dict[ServiceName, Collection[Rule]] = dict(rule_sets(current))
    for name in {document.service for document in listed}:
        new = wanted.of(name).rules
        if not diff(_only(current, name), _only(wanted, name)):
            continue
        rules[name] = new
    unnamed = tuple(sorted(name for name, rule in current.services.items() if rule.rules and name not in wanted.services))
    if prune:
        rules.update(dict.fromkeys(unnamed, ()))
    modes = tuple(
        ModeChange(name, current.mode(name), mode) for name, mode in sorted(wanted.modes.items()) if mode is not current.mode(name)
    )
    services = {name: ServicePolicy(name, tuple(listed_rules), current.of(name).revision) for name, listed_rules in rules.items()}
    after = Policy(current.revision, services, {**current.modes, **wanted.modes}, current.default_mode)
    return Applied(rules, after, diff(current, after), modes, unnamed)


def holds(current: Policy, document: TrafficPolicy) -> bool:
    """Whether a policy has of a document's service just what the document says: applying it would change nothing."""
    name = document.service
    same_mode = document.mode is None or document.mode is current.mode(name)
    return same_mode and not diff(_only(current, name), _only(policy_of([document]), name))


def _only(policy: Policy, name: ServiceName) -> Policy:
    return Policy(policy.revision, {name: policy.of(name)})
