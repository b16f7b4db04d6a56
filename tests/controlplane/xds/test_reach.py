"""What each source may reach is the same whatever was known before."""

from __future__ import annotations

from hypothesis import given, settings

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.revise import revise, rule_sets
from controlplane.policy.rules import Mode, Policy, Rule
from controlplane.topology.model import Topology
from controlplane.xds.reach import Reach
from tests.controlplane.workflow.changing import CART, DB, NAMES, OLD, WEB, Step, steps


def seen(reach: Reach, topology: Topology) -> list[object]:
    """All that a compiler asks of it."""
    sources = topology.by_workload.values()
    return [reach.silent_ports, reach.quarantined, reach.everything, *(reach.upstreams(source, "deny:x") for source in sources)]


@given(steps(), steps())
@settings(max_examples=150, deadline=None)
def test_what_is_taken_over_is_what_would_be_made(step: Step, other: Step) -> None:
    """Policies that are revisions of each other share their services, and topologies their objects."""
    reach: Reach | None = None
    for policy, topology in [
        (step.policy, step.before), (step.later, step.before), (step.later, step.after), (step.policy, step.after),
        (other.policy, step.after), (other.policy, other.before),
    ]:  # fmt: skip
        reach = Reach(policy, topology, reach)
        assert seen(reach, topology) == seen(Reach(policy, topology), topology)


def test_a_service_whose_rules_are_the_same_is_not_looked_at() -> None:
    """An approval costs what it changes: sources that only others name have the very object of before."""
    web, cart, db = (WorkloadId(*name) for name in (WEB, CART, DB))
    rules = {name: [Rule(cart, 80)] for name in NAMES} | {DB: [Rule(db, 80)]}
    first = revise(Policy(0, {}, {}, Mode.ENFORCE), rules, 1)
    second = revise(first, {**rule_sets(first), CART: [Rule(cart, 80), Rule(web, 80)]}, 2)
    before = Reach(first, Topology())
    after = Reach(second, Topology(), before)
    assert after.approved[web] == {CART: frozenset({80})}
    assert after.approved[cart] == before.approved[cart]
    third = revise(second, {**rule_sets(second), OLD: []}, 3)
    last = Reach(third, Topology(), after)
    assert OLD not in last.approved[cart]
    assert last.approved[db] is after.approved[db]
