"""The next revision: what changes, what keeps its number, and what is remembered as taken away."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, Request, evaluate
from controlplane.policy.revise import added, changed_services, merge, revise, rule_sets
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import RULE_LISTS, SERVICES, WORKLOADS, policies

CART, DB, FRONT_SERVICE = ServiceName("shop", "cart"), ServiceName("shop", "db"), ServiceName("shop", "front")
FRONT, OTHER = WorkloadId("shop", "front"), WorkloadId("shop", "other")
GET, POST = HttpMatch("GET"), HttpMatch("POST")


def with_rules(*rules: Rule) -> Policy:
    return revise(Policy(), {CART: rules}, 1)


@pytest.mark.parametrize(
    ("rules", "merged"),
    [
        ([], set()),
        ([Rule(FRONT, 80, (GET,)), Rule(FRONT, 80, (POST, GET))], {Rule(FRONT, 80, (GET, POST))}),
        ([Rule(FRONT, 80, (GET,)), Rule(FRONT, 80)], {Rule(FRONT, 80)}),
        ([Rule(FRONT, 80), Rule(FRONT, 80, (GET,))], {Rule(FRONT, 80)}),
        ([Rule(FRONT, 80, (HttpMatch(), GET))], {Rule(FRONT, 80)}),
        ([Rule(FRONT, 80), Rule(FRONT, 81), Rule(OTHER, 80)], {Rule(FRONT, 80), Rule(FRONT, 81), Rule(OTHER, 80)}),
    ],
)
def test_rules_of_one_source_and_port_are_one(rules: list[Rule], merged: set[Rule]) -> None:
    assert merge(rules) == merged


@given(RULE_LISTS, st.sampled_from(WORKLOADS), st.sampled_from(["", "GET", "POST"]), st.sampled_from(["", "/", "/a", "/a/b/c"]))
def test_merging_changes_no_outcome(rules: tuple[Rule, ...], source: WorkloadId, method: str, path: str) -> None:
    def outcomes(listed: tuple[Rule, ...]) -> list[bool]:
        policy = Policy(1, {CART: ServicePolicy(CART, listed, 1)}, {CART: Mode.ENFORCE})
        peers: list[WorkloadId | None] = [source, None]
        return [
            isinstance(evaluate(policy, Request(CART, port, peer, "127.1.2.3", method, path)), Allowed)
            for port in (80, 81, 3306)
            for peer in peers
        ]

    assert outcomes(tuple(merge(rules))) == outcomes(rules)


def test_adding_leaves_the_rest_as_it_is() -> None:
    policy = with_rules(Rule(FRONT, 80, (GET,)))
    wanted = added(rule_sets(policy), [(CART, Rule(FRONT, 80, (POST,))), (DB, Rule(FRONT, 3306))])
    found = {name: set(rules) for name, rules in wanted.items() if rules}
    assert found == {CART: {Rule(FRONT, 80, (GET, POST))}, DB: {Rule(FRONT, 3306)}}


def test_a_service_that_did_not_change_keeps_its_revision() -> None:
    first = with_rules(Rule(FRONT, 80))
    second = revise(first, added(rule_sets(first), [(DB, Rule(OTHER, 3306))]), 2)
    assert second.revision == 2
    assert second.services[CART] is first.services[CART]
    assert second.services[DB].revision == 2


def test_the_same_rules_in_other_words_are_no_change() -> None:
    first = with_rules(Rule(FRONT, 80), Rule(OTHER, 80))
    second = revise(first, {CART: [Rule(OTHER, 80), Rule(FRONT, 80)]}, 2)
    assert second.services == first.services


def test_a_source_whose_reach_changed_gets_an_egress_revision() -> None:
    policy = with_rules(Rule(FRONT, 80), Rule(AddressSource("10.0.0.0/8"), 80))
    assert policy.services[FRONT_SERVICE] == ServicePolicy(FRONT_SERVICE, (), 0, 1)
    assert policy.services[CART].egress_revision == 0


@pytest.mark.parametrize(
    ("before", "after", "revoked"),
    [
        ([Rule(FRONT, 80)], [], {80: 2}),
        ([Rule(FRONT, 80)], [Rule(FRONT, 80), Rule(OTHER, 80)], {}),
        ([Rule(FRONT, 80)], [Rule(FRONT, 81)], {80: 2}),
        ([Rule(FRONT, 80)], [Rule(FRONT, 80, (GET,))], {80: 2}),
        ([Rule(FRONT, 80, (GET,))], [Rule(FRONT, 80, (GET, POST))], {}),
        ([Rule(FRONT, 80, (GET, POST))], [Rule(FRONT, 80, (GET,))], {80: 2}),
        ([Rule(FRONT, 80, (GET,))], [Rule(FRONT, 80)], {}),
        ([Rule(FRONT, 80), Rule(OTHER, 81)], [Rule(FRONT, 80)], {81: 2}),
        ([Rule(AddressSource("10.0.0.0/8"), 80)], [], {80: 2}),
    ],
)
def test_a_port_that_lost_something_remembers_when(before: list[Rule], after: list[Rule], revoked: dict[int, int]) -> None:
    assert revise(with_rules(*before), {CART: after}, 2).services[CART].revoked == revoked


def test_a_source_that_lost_something_remembers_when_by_the_destinations_port() -> None:
    """Whatever is added; networks have no sidecar to tell."""
    first = with_rules(Rule(FRONT, 80), Rule(OTHER, 80), Rule(AddressSource("10.0.0.0/8"), 80))
    second = revise(first, {CART: [Rule(OTHER, 80), Rule(FRONT, 81)]}, 2)
    assert second.of(FRONT_SERVICE).egress_revoked == {80: 2}
    third = revise(second, {CART: [Rule(FRONT, 80, (GET,))]}, 3)
    assert (third.of(FRONT_SERVICE).egress_revoked, third.of(ServiceName(*OTHER)).egress_revoked) == ({80: 2, 81: 3}, {80: 3})
    assert revise(third, {CART: [Rule(FRONT, 80)]}, 4).of(FRONT_SERVICE).egress_revoked == {80: 2, 81: 3}


def test_an_earlier_loss_is_not_forgotten() -> None:
    second = revise(with_rules(Rule(FRONT, 80), Rule(FRONT, 81)), {CART: [Rule(FRONT, 81)]}, 2)
    assert revise(second, {CART: []}, 3).services[CART].revoked == {80: 2, 81: 3}


def test_a_service_that_lost_every_rule_keeps_an_empty_list_with_a_revision() -> None:
    second = revise(with_rules(Rule(FRONT, 80)), {}, 2)
    assert second.services[CART] == ServicePolicy(CART, (), 2, 0, {80: 2})


@given(policies(), st.dictionaries(st.sampled_from(SERVICES), RULE_LISTS))
def test_a_revision_holds_exactly_the_wanted_rules_and_keeps_the_modes(
    current: Policy, wanted: dict[ServiceName, tuple[Rule, ...]]
) -> None:
    revised = revise(current, wanted, 10)
    assert {name: set(s.rules) for name, s in revised.services.items() if s.rules} == {n: set(r) for n, r in wanted.items() if r}
    assert (revised.modes, revised.default_mode, revised.revision) == (current.modes, current.default_mode, 10)
    changed = {name for name in {*current.services, *wanted} if set(current.of(name).rules) != set(wanted.get(name, ()))}
    assert {name for name, listed in revised.services.items() if listed.revision == 10} == changed
    assert changed <= changed_services(current, revised)


def test_a_changed_mode_changes_its_service_alone() -> None:
    policy = with_rules(Rule(FRONT, 80))
    other = Policy(policy.revision, policy.services, {CART: Mode.ENFORCE})
    assert changed_services(policy, other) == {CART}
    assert changed_services(policy, policy) == frozenset()
