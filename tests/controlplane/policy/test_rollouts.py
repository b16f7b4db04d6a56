"""A rollout goes one, share, all; it goes back on a refusal, a spike of denials, or when nobody takes it."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Verdict, Violation
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rollouts import (
    PATIENCE_MS,
    Advance,
    Finish,
    Hold,
    Plan,
    RollBack,
    Rollout,
    Seen,
    Stage,
    Step,
    Taken,
    first_of,
    newly_denied,
    next_step,
    place,
    together,
)
from controlplane.policy.rules import Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName

CART = ServiceName("shop", "cart")
BEGUN = Rollout(1, CART, Mode.AUDIT, Plan(20, 60, 3), "a", "ana", 1_000, 1_000)
HELD_MS = 1_000 + 60_000


def test_a_stage_is_taken_then_watched_then_the_next_begins() -> None:
    assert next_step(BEGUN, [Seen("a", taken=False)], 0, 1_000) == Hold()
    assert next_step(BEGUN, [Seen("a", taken=True), Seen("zz", taken=False)], 0, 1_000) == Taken()
    watched = replace(BEGUN, taken_ms=1_000)
    assert next_step(watched, [], 3, HELD_MS - 1) == Hold()
    assert next_step(watched, [], 3, HELD_MS) == Advance(Stage.SHARE)
    assert next_step(replace(watched, stage=Stage.SHARE), [], 0, HELD_MS) == Advance(Stage.ALL)
    assert next_step(replace(watched, stage=Stage.ALL), [], 0, HELD_MS) == Finish()


def test_a_refusal_takes_it_back_only_where_it_is_staged() -> None:
    refused = Seen("a", taken=False, refusal="LDS: bad")
    assert next_step(BEGUN, [refused], 0, 1_000) == RollBack("a refused it: LDS: bad")
    assert next_step(BEGUN, [Seen("a", taken=True), replace(refused, instance="outside")], 0, 1_000) == Taken()


@pytest.mark.parametrize("stage", list(Stage))
def test_more_denials_than_are_allowed_take_it_back(stage: Stage) -> None:
    """Also when its time of watching is over at the same look."""
    watched = replace(BEGUN, stage=stage, taken_ms=1_000)
    assert next_step(watched, [], 4, HELD_MS) == RollBack("denied connections: 4, at most 3 may be")


def test_what_nobody_takes_is_taken_back() -> None:
    late_ms = BEGUN.stage_ms + PATIENCE_MS
    assert next_step(BEGUN, [], 0, late_ms - 1) == Hold()
    assert next_step(BEGUN, [], 0, late_ms) == RollBack("not taken within 120 s: no sidecar of the stage is connected")
    assert next_step(BEGUN, [Seen("a", taken=False)], 0, late_ms) == RollBack("not taken within 120 s: a")


@given(st.sets(st.text(min_size=1, max_size=20), min_size=1, max_size=30), st.integers(1, 99))
def test_each_stage_holds_the_one_before(instances: set[str], share: int) -> None:
    """Nobody goes back to audit because a rollout goes on."""
    first = first_of(CART, instances)
    assert first is not None
    begun = replace(BEGUN, first=first, plan=Plan(share, 60, 0))
    one, some, every = (
        {i for i in instances if replace(begun, stage=stage).includes(i)} for stage in (Stage.ONE, Stage.SHARE, Stage.ALL)
    )
    assert one == {first}
    assert one <= some <= every == instances
    assert some == {i for i in instances if place(CART, i) < share} | one


def test_a_share_of_many_is_about_that_share() -> None:
    staged = replace(BEGUN, stage=Stage.SHARE)
    assert 150 < sum(staged.includes(f"cart-{number}") for number in range(1_000)) < 250


def test_a_pause_holds_it_and_stops_nothing_from_going_back() -> None:
    paused = replace(BEGUN, taken_ms=1_000, paused_by="cy")
    assert next_step(paused, [], 0, HELD_MS) == Hold()
    assert isinstance(next_step(paused, [], 4, HELD_MS), RollBack)


@given(st.lists(st.sampled_from([Hold(), Taken(), Advance(Stage.SHARE), Finish(), RollBack("a"), RollBack("b")]), min_size=1))
def test_together_they_go_back_with_the_first_and_on_with_the_last(steps: list[Step]) -> None:
    found = together(steps)
    if any(isinstance(step, RollBack) for step in steps):
        assert found == next(step for step in steps if isinstance(step, RollBack))
    elif isinstance(found, Advance | Finish):
        assert set(steps) == {found}
    else:
        assert found == Hold()


def denied(source: str, deny_id: str, *, direction: str = "in", destination: str = "shop/cart", count: int = 3) -> Violation:
    edge = EdgeKey(source, destination, 7070, "http", "GET", "/")
    return Violation(1, edge, Verdict.DENIED, destination, direction, count, 5, 9, "", "", "10.0.0.9", deny_id, "")


@pytest.mark.parametrize(
    ("found", "count"),
    [
        (denied("shop/web", "deny:shop/cart@r8"), 3),
        (denied("shop/web", "deny:shop/cart@r7"), 0),
        (denied("shop/evil", "deny:shop/cart@r8"), 0),
        (denied("ip:10.0.0.9", "deny:shop/cart@r8"), 0),
        (denied("shop/web", "deny:shop/web@r8/egress", direction="out"), 3),
        (denied("shop/evil", "deny:shop/evil@r8/egress", direction="out"), 0),
        (denied("nobody", "deny:shop/cart@r8"), 0),
        (denied("shop/web", ""), 0),
    ],
)
def test_only_what_passed_before_counts_against_a_revision(found: Violation, count: int) -> None:
    """What was denied before goes on under the new name."""
    before = Policy(7, {CART: ServicePolicy(CART, (Rule(WorkloadId("shop", "web"), 7070),), 7)}, {}, Mode.ENFORCE)
    assert newly_denied(before, 8, [found]) == count
