"""Whom a change concerns: whoever is left out has the same snapshot as before, and few are named who have."""

from __future__ import annotations

from dataclasses import replace

from hypothesis import HealthCheck, given, settings

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.workflow.concerns import concerned_by, told_of
from controlplane.xds.compile import Compiler
from tests.controlplane.workflow.changing import BANK, CART, DB, OLD, WEB, Step, steps
from tests.controlplane.xds.worlds import TRUST


def service(name: ServiceName, number: int, *replicas: int) -> Service:
    """A meshed service with one port."""
    return Service(
        name,
        Kind.SERVICE,
        (Port(80, "http", 8080),),
        (f"10.1.0.{number}",),
        tuple(f"10.2.{number}.{replica}" for replica in replicas),
    )


SHOP = Topology.of([service(WEB, 1, 1), service(CART, 2, 1, 2), service(DB, 3, 1)])
RULES = {CART: ServicePolicy(CART, (Rule(WorkloadId(*WEB), 80),), 1)}
ENFORCING = Policy(1, RULES, {}, Mode.ENFORCE)


def changed(*services: Service) -> Topology:
    """The shop with some services otherwise."""
    return Topology({**SHOP.services, **{found.name: found for found in services}})


@given(steps())
@settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_whoever_is_not_concerned_is_told_the_same(step: Step) -> None:
    told = told_of(step.before, step.after, (step.policy, step.later))
    if told is None:
        return
    concerned = told | concerned_by(step.policy, step.later)
    before, after = Compiler(TRUST), Compiler(TRUST)
    for workload in step.before.by_workload.keys() & step.after.by_workload.keys() - concerned:
        old = before.compile_snapshot(step.policy, step.before, workload)
        new = after.compile_snapshot(step.later, step.after, workload)
        assert old is not None
        assert new is not None
        assert old.resources == new.resources, workload


def test_replicas_that_come_and_go_concern_the_service_and_its_callers() -> None:
    assert told_of(SHOP, changed(service(CART, 2, 3)), (ENFORCING,)) == {WorkloadId(*CART), WorkloadId(*WEB)}


def test_a_service_that_nobody_calls_concerns_itself() -> None:
    assert told_of(SHOP, changed(service(DB, 3, 7)), (ENFORCING,)) == {WorkloadId(*DB)}
    assert told_of(SHOP, changed(service(OLD, 4, 1)), (ENFORCING,)) == {WorkloadId(*OLD)}
    assert told_of(changed(service(OLD, 4, 1)), SHOP, (ENFORCING,)) == {WorkloadId(*OLD)}


def test_what_is_open_concerns_everybody() -> None:
    """Whoever may call it has to know where it is."""
    learning = replace(ENFORCING, modes={CART: Mode.LEARN})
    assert told_of(SHOP, changed(service(CART, 2, 3)), (learning,)) is None
    assert told_of(SHOP, changed(service(DB, 3, 7)), (learning,)) == {WorkloadId(*DB)}
    host = Service(BANK, Kind.EXTERNAL, (Port(443, "https", 443),))
    assert told_of(SHOP, changed(host), (ENFORCING,)) is None, "it follows its caller's mode"


def test_who_answers_for_a_service_hears_of_its_addresses_and_not_of_its_replicas() -> None:
    """A source that learns refuses what enforces under a name of its own, at the address that is dialled."""
    watching = replace(ENFORCING, modes={WEB: Mode.LEARN})
    assert told_of(SHOP, changed(service(DB, 3, 7)), (watching,)) == {WorkloadId(*DB)}
    moved = changed(replace(service(DB, 3, 1), addresses=("10.1.0.9",)))
    assert told_of(SHOP, moved, (watching,)) == {WorkloadId(*DB), WorkloadId(*WEB)}


def test_rules_of_before_count_too() -> None:
    """Who loses an edge in the same moment is told of the service no more."""
    without = replace(ENFORCING, services={CART: ServicePolicy(CART, (), 2)})
    assert told_of(SHOP, changed(service(CART, 2, 3)), (ENFORCING, without)) == {WorkloadId(*CART), WorkloadId(*WEB)}


def test_another_order_or_port_on_which_servers_speak_first_shows_everywhere() -> None:
    turned = Topology(dict(reversed(list(SHOP.services.items()))))
    assert told_of(SHOP, turned, (ENFORCING,)) is None
    assert told_of(SHOP, changed(replace(service(DB, 3, 1), ports=(Port(3307, "mysql", 3307),))), (ENFORCING,)) is None
