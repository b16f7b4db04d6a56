"""A replay says of each flow what `policy.evaluate` says of it."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, HourlyFlow, Verdict
from controlplane.graph.replay import enforced, replay, request_of
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, evaluate
from controlplane.policy.rules import AddressSource, HttpMatch, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName

PATHS = ("", "/a", "/a/1", "/b")
SOURCES = (WorkloadId("shop", "web"), WorkloadId("shop", "cart"), AddressSource("10.0.0.0/8"))
rules = st.builds(
    Rule, st.sampled_from(SOURCES), st.sampled_from((80, 81)),
    st.lists(st.sampled_from([HttpMatch("GET", "/a/{id}"), HttpMatch("", "/a"), HttpMatch("POST")]), max_size=2).map(tuple),
)  # fmt: skip
keys = st.builds(
    EdgeKey, st.sampled_from(("shop/web", "shop/cart", "ip:10.1.2.3", "ip:9.9.9.9")), st.sampled_from(("shop/cart", "shop/pay")),
    st.sampled_from((80, 81)), st.just("http"), st.sampled_from(("GET", "POST")), st.sampled_from(PATHS),
)  # fmt: skip
flows = st.lists(st.builds(HourlyFlow, keys, st.sampled_from(Verdict), st.integers(0, 3), st.integers(1, 9)), max_size=12)


@given(listed=st.lists(rules, max_size=6), seen=flows)
def test_a_replay_equals_evaluating_one_by_one(listed: list[Rule], seen: list[HourlyFlow]) -> None:
    cart = ServiceName("shop", "cart")
    policy = Policy(7, {cart: ServicePolicy(cart, tuple(listed), 5)})
    found = replay(policy, seen)
    outcomes = [(flow, evaluate(enforced(policy), request)) for flow in seen if (request := request_of(flow.edge)) is not None]
    assert found.allowed == sum(flow.count for flow, outcome in outcomes if isinstance(outcome, Allowed))
    refused = {flow.edge: str(outcome.deny_id) for flow, outcome in outcomes if not isinstance(outcome, Allowed)}
    assert {one.edge: one.deny_id for one in found.refusals} == refused
    assert found.allowed + found.denied == sum(flow.count for flow in seen)


def test_flows_that_name_nothing_are_counted_apart() -> None:
    found = replay(Policy(), [HourlyFlow(EdgeKey("?", "shop/cart", 80, "tcp"), Verdict.ALLOWED, 1, 1)])
    assert (found.flows, found.unread, found.hours) == (1, 1, ())
