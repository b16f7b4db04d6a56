"""Applying documents changes the services that they name, and nothing else."""

from __future__ import annotations

from hypothesis import given

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.applied import ModeChange, applied
from controlplane.policy.revise import merge, revise
from controlplane.policy.rules import Mode, Policy, Rule, ServicePolicy
from controlplane.policy.traffic_documents import documents_of, policy_of
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import policies
from tests.controlplane.policy.traffic import documents

CART, PAY = ServiceName("shop", "cart"), ServiceName("shop", "pay")
RULE = Rule(WorkloadId("shop", "web"), 80)
CURRENT = Policy(3, {CART: ServicePolicy(CART, (RULE,), 2), PAY: ServicePolicy(PAY, (RULE,), 3)}, {CART: Mode.AUDIT})


@given(policies(), documents())
def test_services_with_a_document_are_as_it_says_and_others_as_they_were(current: Policy, given: tuple[TrafficPolicy, ...]) -> None:
    made = applied(current, given)
    wanted = policy_of(given)
    for name in {*current.services, *wanted.services}:
        source = wanted if name in wanted.services else current
        assert merge(made.policy.of(name).rules) == merge(source.of(name).rules)
        assert made.policy.mode(name) is wanted.modes.get(name, current.mode(name))
    revised = revise(current, made.rules, current.revision + 1)
    for name in {*current.services, *made.rules}:
        assert merge(revised.of(name).rules) == merge(made.policy.of(name).rules)


@given(policies())
def test_a_policy_applied_to_itself_changes_nothing(policy: Policy) -> None:
    made = applied(policy, documents_of(policy))
    assert made.is_same
    assert all(made.rules[name] is listed.rules for name, listed in policy.services.items())


def test_services_without_a_document_keep_their_rules_unless_pruned() -> None:
    (cart, _) = documents_of(CURRENT)
    kept = applied(CURRENT, [cart])
    assert (kept.is_same, kept.unnamed) == (True, (PAY,))
    pruned = applied(CURRENT, [cart], prune=True)
    assert [(change.service, change.change.value) for change in pruned.changes] == [(PAY, "removed")]


def test_a_mode_that_is_written_changes() -> None:
    made = applied(CURRENT, [TrafficPolicy(CART, (), Mode.ENFORCE)])
    assert made.modes == (ModeChange(CART, Mode.AUDIT, Mode.ENFORCE),)
    assert not made.is_same
