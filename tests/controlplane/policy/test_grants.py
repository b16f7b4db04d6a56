"""Timed exceptions: what is left when one ends is what was there before, and what was approved meanwhile."""

from __future__ import annotations

from collections.abc import Collection

from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.grants import Grant, allowed_before, ended, granted, is_held, lasting, settled, withdrawn
from controlplane.policy.revise import merge
from controlplane.policy.rules import HttpMatch, Rule
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import MATCHES, RULE_LISTS, SOURCES

CART, WEB = ServiceName("shop", "cart"), WorkloadId("shop", "web")
GET, POST, PUT = HttpMatch("GET"), HttpMatch("POST"), HttpMatch("PUT")


def grant_of(rules: tuple[Rule, ...] | frozenset[Rule], rule: Rule, number: int = 1) -> Grant:
    return Grant(number, CART, rule, allowed_before(rules, rule), "why", "", "ana", 0, 1)


@given(RULE_LISTS, SOURCES, st.sampled_from([80, 81]), st.lists(MATCHES, max_size=2).map(tuple))
def test_a_grant_that_ends_leaves_what_was_before(
    rules: tuple[Rule, ...], source: object, port: int, http: tuple[HttpMatch, ...]
) -> None:
    before = merge(rules)
    rule = Rule(source, port, http)  # type: ignore[arg-type]  # the strategy gives sources
    assert merge(withdrawn(granted(before, rule), grant_of(before, rule))) == before


@given(RULE_LISTS, st.lists(st.tuples(st.booleans(), st.lists(MATCHES, max_size=2).map(tuple), st.integers(0, 3)), max_size=12))
def test_grants_of_one_edge_leave_what_was_approved_in_whatever_order_they_end(
    rules: tuple[Rule, ...], steps: list[tuple[bool, tuple[HttpMatch, ...], int]]
) -> None:
    approved = merge([*rules, Rule(WEB, 80, (GET,))])
    now: Collection[Rule] = approved
    active: list[Grant] = []
    for number, (begins, http, which) in enumerate(steps):
        if begins:
            rule = Rule(WEB, 80, http)
            before = allowed_before(lasting({CART: now}, active)[CART], rule)
            now, active = granted(now, rule), [Grant(number, CART, rule, before, "why", "", "ana", 0, 1), *active]
        elif active:
            gone = active.pop(which % len(active))
            now = ended(now, gone, active)
        assert merge(now) == merge([*approved, *(grant.rule for grant in active)])
        assert merge(lasting({CART: now}, active)[CART]) == approved
    for gone in [*active]:
        active.remove(gone)
        now = ended(now, gone, active)
    assert merge(now) == approved


@given(RULE_LISTS, RULE_LISTS, st.lists(st.lists(MATCHES, max_size=2).map(tuple), max_size=4))
def test_what_is_decided_while_grants_are_open_is_what_is_left_when_they_end(
    rules: tuple[Rule, ...], later: tuple[Rule, ...], granted_http: list[tuple[HttpMatch, ...]]
) -> None:
    now: Collection[Rule] = merge(rules)
    active: list[Grant] = []
    for number, http in enumerate(granted_http):
        rule = Rule(WEB, 80, http)
        before = allowed_before(lasting({CART: now}, active)[CART], rule)
        now, active = granted(now, rule), [Grant(number, CART, rule, before, "why", "", "ana", 0, 1), *active]
    decided = {CART: merge(later)}
    now = merge([*later, *(grant.rule for grant in active)])
    settled_by_id = {grant.id: grant for grant in settled(active, decided)}
    active = [settled_by_id.get(grant.id, grant) for grant in active]
    assert merge(lasting({CART: now}, active)[CART]) == decided[CART]
    assert not any(is_held(grant.rule, grant.before) and merge(granted(later, grant.rule)) != decided[CART] for grant in active)


def test_what_was_approved_meanwhile_stays() -> None:
    before = frozenset({Rule(WEB, 80, (GET,))})
    grant = grant_of(before, Rule(WEB, 80, (POST,)))
    meanwhile = granted(granted(before, grant.rule), Rule(WEB, 80, (PUT,)))
    assert merge(withdrawn(meanwhile, grant)) == {Rule(WEB, 80, (GET, PUT))}


def test_an_edge_that_was_taken_off_meanwhile_does_not_come_back() -> None:
    grant = grant_of(frozenset({Rule(WEB, 80, (GET,))}), Rule(WEB, 80))
    assert merge(withdrawn((), grant)) == frozenset()


def test_a_port_that_was_opened_whole_goes_back_to_what_it_was() -> None:
    before = frozenset({Rule(WEB, 80, (GET,)), Rule(WorkloadId("shop", "x"), 80)})
    grant = grant_of(before, Rule(WEB, 80))
    assert merge(withdrawn(granted(before, grant.rule), grant)) == before


def test_two_grants_of_one_edge_end_one_after_the_other_in_either_order() -> None:
    first = grant_of((), Rule(WEB, 80, (GET,)))
    once = granted((), first.rule)
    second = grant_of(merge(once), Rule(WEB, 80, (POST,)), 2)
    both = granted(once, second.rule)
    assert merge(withdrawn(withdrawn(both, first), second)) == frozenset()
    assert merge(withdrawn(withdrawn(both, second), first)) == frozenset()
