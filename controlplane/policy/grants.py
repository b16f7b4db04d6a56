"""Timed exceptions: what one adds to an allow-list, and what is left when it ends. Pure; knows no clock."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace

from controlplane.policy.revise import RuleSets, merge
from controlplane.policy.rules import HttpMatch, Rule
from controlplane.topology.model import ServiceName


@dataclass(frozen=True, slots=True)
class Grant:
    """An edge that is allowed for a time. Times are Unix milliseconds.

    ``before`` is what the source might send to the port when it was granted, other grants aside: nothing (``None``), anything
    (empty), or these.
    """

    id: int
    service: ServiceName
    rule: Rule
    before: tuple[HttpMatch, ...] | None
    reason: str
    ticket: str
    actor: str
    created_ms: int
    expires_ms: int
    ended_ms: int | None = None
    ended_by: str = ""


def allowed_before(rules: Collection[Rule], rule: Rule) -> tuple[HttpMatch, ...] | None:
    """What the rule's source may send to its port; ``None`` for nothing."""
    found = [other.http for other in rules if (other.source, other.port) == (rule.source, rule.port)]
    if not found:
        return None
    return () if not all(found) else tuple(sorted({match for http in found for match in http}))


def is_held(rule: Rule, allowed: tuple[HttpMatch, ...] | None) -> bool:
    """Whether a source that may send that (as of `allowed_before`) may do all that a rule lets it do."""
    return allowed == () or (allowed is not None and bool(rule.http) and set(rule.http) <= set(allowed))


def granted(rules: Collection[Rule], rule: Rule) -> Collection[Rule]:
    """The rules with one more."""
    return merge((*rules, rule))


def was_open(grant: Grant, at_ms: int) -> bool:
    """Whether it was in force then."""
    return grant.created_ms <= at_ms and (grant.ended_ms is None or at_ms < grant.ended_ms)


def withdrawn(rules: Collection[Rule], grant: Grant) -> Collection[Rule]:
    """The rules without what the grant added.

    What was approved meanwhile stays where it can be told apart; a port that the grant opened whole goes back to what it was.
    """
    ends = (grant.rule.source, grant.rule.port)
    others = [rule for rule in rules if (rule.source, rule.port) != ends]
    now = allowed_before(rules, grant.rule)
    if now is None or grant.before == ():
        return rules  # it is gone already, or had added nothing
    if now == () or not grant.rule.http:
        left = grant.before
    else:
        kept = set(grant.before or ())
        left = tuple(match for match in now if match in kept or match not in grant.rule.http)
    return merge([*others, Rule(*ends, left)] if left else others)


def lasting(rules: RuleSets, grants: Iterable[Grant]) -> RuleSets:
    """The rules without what grants added, which come newest first: one may have opened whole what an older one opened in part."""
    left = dict(rules)
    for grant in grants:
        left[grant.service] = withdrawn(left.get(grant.service, ()), grant)
    return left


def settled(grants: Iterable[Grant], approved: RuleSets) -> list[Grant]:
    """Of open grants those whose edge is decided by these rules, which grants have no part in: as they go on, from now on."""
    now = ((grant, allowed_before(approved.get(grant.service, ()), grant.rule)) for grant in grants)
    return [replace(grant, before=allowed) for grant, allowed in now if allowed != grant.before]


def ended(rules: Collection[Rule], grant: Grant, others: Iterable[Grant]) -> Collection[Rule]:
    """The rules when one grant ends and others stay open: of those, what is in force stays so."""
    now, left = allowed_before(rules, grant.rule), withdrawn(rules, grant)
    for other in others:
        same = (other.service, other.rule.source, other.rule.port) == (grant.service, grant.rule.source, grant.rule.port)
        if same and now is not None and (still := _still(other.rule, now)) is not None:
            left = granted(left, still)
    return left


def _still(rule: Rule, now: tuple[HttpMatch, ...]) -> Rule | None:
    """What of a rule is in force."""
    if not now:
        return rule
    http = tuple(match for match in rule.http if match in now)
    return Rule(rule.source, rule.port, http) if http else None
