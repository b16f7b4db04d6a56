"""Parity: agreement where sidecars did as the policy says, every disagreement told, and nothing judged that cannot be."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, HourlyFlow, Verdict
from controlplane.graph.ledger import UNSAYABLE
from controlplane.graph.parity import Cause, Parity, parity
from controlplane.graph.replay import request_of
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, Denied, Outcome, evaluate, evaluate_egress
from controlplane.policy.rollouts import Plan, Rollout
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.policy.timeline import ModeSet, timeline
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from tests.controlplane.policy.strategies import PORTS, SERVICES, WORKLOADS, policies

HOUR_MS = 3_600_000
CART, WEB = ServiceName("shop", "cart"), WorkloadId("shop", "web")
GET = EdgeKey("shop/web", "shop/cart", 80, "http", "GET", "/items")
MESH = Topology.of(tuple(Service(name, Kind.SERVICE, (Port(80, "http", 80),), (), ()) for name in SERVICES))
NOBODY, EVERYTHING = Policy(), Policy(1, {CART: ServicePolicy(CART, (Rule(WEB, 80),), 1)})


def judged(*flows: HourlyFlow, made_ms: int = 0, modes: tuple[ModeSet, ...] = (), rollouts: tuple[Rollout, ...] = ()) -> Parity:
    """Against revision 0, then revision 1, which allows web to call cart; all in enforce unless ``modes`` say otherwise."""
    held = timeline({1: made_ms}, (ModeSet(0, None, Mode.ENFORCE), *modes), rollouts, 0)
    return parity(held, {0: NOBODY, 1: EVERYTHING}.get, MESH, flows)


def use(verdict: Verdict, hour: int = 9, deny_id: str = "", edge: EdgeKey = GET, direction: str = "in") -> HourlyFlow:
    return HourlyFlow(edge, verdict, hour, 3, deny_id, direction)


@st.composite
def reports(draw: st.DrawFn, policy: Policy) -> HourlyFlow:
    """What a sidecar that does as the policy says reports of a use."""
    source, destination = draw(st.sampled_from([*map(str, WORKLOADS), "ip:127.1.2.3"])), draw(st.sampled_from(SERVICES))
    method, path = draw(st.sampled_from((("", ""), ("GET", "/a/b"), ("POST", "/shop.Cart/Get"))))
    edge = EdgeKey(source, str(destination), draw(st.sampled_from(PORTS)), "http", method, path)
    request = request_of(edge)
    assert request is not None
    direction = draw(st.sampled_from(("in", "out")))
    outcome = evaluate(policy, request) if direction == "in" else evaluate_egress(policy, request, sees_requests=False)
    return HourlyFlow(edge, verdict_of(outcome), draw(st.integers(1, 5)), draw(st.integers(1, 9)), name_of(outcome), direction)


def verdict_of(outcome: Outcome) -> Verdict:
    if isinstance(outcome, Allowed):
        return Verdict.ALLOWED
    return Verdict.DENIED if isinstance(outcome, Denied) else Verdict.WOULD_DENY


def name_of(outcome: Outcome) -> str:
    return "" if isinstance(outcome, Allowed) else str(outcome.deny_id)


@given(st.data())
def test_a_sidecar_that_does_as_the_policy_says_agrees_and_one_that_does_not_is_told(data: st.DataObject) -> None:
    policy = data.draw(policies())
    changes = [ModeSet(0, None, policy.default_mode), *(ModeSet(0, name, mode) for name, mode in policy.modes.items())]
    held = timeline({policy.revision: 0}, changes, [], 0)
    flows = data.draw(st.lists(reports(policy), min_size=1, max_size=6))
    rules = {policy.revision: policy}
    clean = parity(held, rules.get, MESH, sorted(flows, key=lambda flow: -flow.hour))
    assert (clean.agreed, clean.disagreements, clean.unjudged) == (sum(flow.count for flow in flows), (), {})

    wrong = replace(
        flows[0], verdict=data.draw(st.sampled_from([verdict for verdict in Verdict if verdict is not flows[0].verdict]))
    )
    assume(wrong.deny_id or wrong.verdict is not Verdict.DENIED)
    found = parity(held, rules.get, MESH, [wrong])
    assert (found.disagreed, found.agreed) == (wrong.count, 0)
    (told,) = found.disagreements
    assert (told.reported.verdict, told.evaluated.verdict) == (wrong.verdict, flows[0].verdict)
    assert told.evaluated.deny_id == flows[0].deny_id


def test_a_service_that_calls_itself_is_refused_by_its_own_egress() -> None:
    """The name of the denial has the revision of what the source may call, also where both ends are one."""
    own = Policy(1, {CART: ServicePolicy(CART, (), 1, egress_revision=1)}, {}, Mode.ENFORCE)
    itself = EdgeKey("shop/cart", "shop/cart", 80, "http")
    held = timeline({1: 0}, [ModeSet(0, None, Mode.ENFORCE)], [], 0)
    (told,) = parity(held, {1: own}.get, MESH, [use(Verdict.ALLOWED, edge=itself, direction="out")]).disagreements
    assert told.evaluated.deny_id == "deny:shop/cart@r1/egress"


def test_a_disagreement_says_what_was_reported_what_is_meant_and_by_which_rule() -> None:
    found = judged(use(Verdict.DENIED, 11, "deny:shop/cart@r1"), use(Verdict.DENIED, 9, "deny:shop/cart@r1"), use(Verdict.ALLOWED))
    (told,) = found.disagreements
    assert (found.agreed, told.count, told.first_hour, told.last_hour, told.revision) == (3, 6, 9, 11, 1)
    assert (told.reported.deny_id, told.evaluated.rule, told.mode) == ("deny:shop/cart@r1", Rule(WEB, 80), Mode.ENFORCE)


@pytest.mark.parametrize("made_ms", [9 * HOUR_MS + 1, 9 * HOUR_MS - 60_000, 10 * HOUR_MS + 60_000])
def test_where_the_revision_changed_in_or_about_the_hour_either_may_have_decided(made_ms: int) -> None:
    found = judged(use(Verdict.ALLOWED), use(Verdict.DENIED, deny_id="deny:shop/cart@r0"), use(Verdict.WOULD_DENY), made_ms=made_ms)
    assert (found.agreed, found.unjudged, found.disagreed) == (0, {Cause.CHANGED: 6}, 3)


def test_what_all_versions_say_alike_is_judged_over_a_change() -> None:
    found = judged(use(Verdict.ALLOWED), modes=(ModeSet(9 * HOUR_MS + 5, CART, Mode.AUDIT),))
    assert (found.agreed, found.unjudged) == (3, {})


def test_a_sidecar_that_is_behind_its_revision_is_told() -> None:
    edge = GET._replace(source="shop/db")
    found = judged(
        use(Verdict.DENIED, deny_id="deny:shop/cart@r0", edge=edge), use(Verdict.DENIED, deny_id="deny:shop/cart@r1", edge=edge)
    )
    assert [one.reported.deny_id for one in found.disagreements] == ["deny:shop/cart@r0"]


def test_during_a_staged_rollout_some_sidecars_enforce() -> None:
    running = Rollout(1, CART, Mode.AUDIT, Plan(20, 60, 0), "cart-0", "ana", 8 * HOUR_MS, 8 * HOUR_MS)
    edge = GET._replace(source="shop/db")
    uses = [use(verdict, deny_id="deny:shop/cart@r1", edge=edge) for verdict in (Verdict.WOULD_DENY, Verdict.DENIED)]
    found = judged(*uses, modes=(ModeSet(0, CART, Mode.AUDIT),), rollouts=(running,))
    assert (found.unjudged, found.disagreed) == ({Cause.CHANGED: 6}, 0)


def test_what_cannot_be_judged_is_counted_with_its_cause() -> None:
    flows = (
        use(Verdict.ALLOWED, direction=""),
        use(Verdict.ALLOWED, edge=GET._replace(path=UNSAYABLE)),
        use(Verdict.DENIED),
        use(Verdict.ALLOWED, edge=GET._replace(source="?")),
        use(Verdict.ALLOWED, hour=-1),
    )
    causes = (Cause.NO_SIDECAR, Cause.UNTOLD, Cause.NEVER_PASSED, Cause.UNREAD, Cause.NOT_KEPT)
    assert judged(*flows) == Parity(5, 0, (), dict.fromkeys(causes, 3))
    lost = parity(timeline({4: 0}, [ModeSet(0, None, Mode.LEARN)], [], 0), lambda _: None, MESH, [use(Verdict.ALLOWED)])
    assert lost.unjudged == {Cause.NOT_KEPT: 3}


def test_outside_the_mesh_the_sources_sidecar_decides_on_requests() -> None:
    host = ServiceName("external", "api.example.com")
    policy = Policy(1, {host: ServicePolicy(host, (Rule(WEB, 443, (HttpMatch("GET"),)),), 1)})
    held = timeline({1: 0}, [ModeSet(0, None, Mode.LEARN), ModeSet(0, ServiceName("shop", "web"), Mode.ENFORCE)], [], 0)
    edge = EdgeKey("shop/web", str(host), 443, "http", "GET", "/")
    flows = (
        use(Verdict.ALLOWED, edge=edge, direction="out"),
        use(Verdict.DENIED, edge=edge._replace(method="POST"), deny_id="deny:shop/web@r0/egress", direction="out"),
        use(Verdict.ALLOWED, edge=edge._replace(source="shop/db"), direction="out"),
    )
    found = parity(held, {1: policy}.get, MESH, flows)
    assert (found.agreed, found.disagreed) == (9, 0)
