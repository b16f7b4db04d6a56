"""Why a request passes or not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, Denied, Request, evaluate, evaluate_egress
from controlplane.policy.explain import explain
from controlplane.policy.rules import HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import METHODS, PORTS, SERVICES, WORKLOADS, policies

CART, PAY, OUTSIDE = ServiceName("shop", "cart"), ServiceName("shop", "pay"), ServiceName("external", "api.example.org")
WEB, BATCH = WorkloadId("shop", "web"), WorkloadId("shop", "batch")
RULES = (Rule(WEB, 80, (HttpMatch("GET", "/cart"),)), Rule(WEB, 81))


def policy(mode: Mode, **modes: Mode) -> Policy:
    listed = {CART: ServicePolicy(CART, RULES, 3), OUTSIDE: ServicePolicy(OUTSIDE, (Rule(WEB, 443),), 2)}
    return Policy(3, listed, {CART: mode, **{ServiceName("shop", name): other for name, other in modes.items()}})


@pytest.mark.parametrize(
    ("mode", "request_", "verdict", "is_at_source", "text"),
    [
        (Mode.ENFORCE, Request(CART, 80, WEB, "", "GET", "/cart"), "allowed", False, "shop/web may call port 80: GET /cart"),
        (Mode.ENFORCE, Request(CART, 80, WEB, "", "POST", "/cart"), "denied", False, "shop/web may only GET /cart"),
        (Mode.ENFORCE, Request(CART, 82, WEB), "denied", True, "shop/web may only call port 80, 81"),
        (Mode.ENFORCE, Request(CART, 80, BATCH), "denied", True, "port 80 is for shop/web"),
        (Mode.ENFORCE, Request(CART, 99, None, "10.0.0.1"), "denied", False, "no rule opens port 99"),
        (Mode.AUDIT, Request(CART, 80, BATCH), "would-deny", False, "port 80 is for shop/web"),
        (Mode.LEARN, Request(CART, 80, BATCH), "allowed", False, "in mode learn everything passes"),
        (Mode.QUARANTINE, Request(CART, 81, WEB), "denied", True, "quarantine"),
        (Mode.LEARN, Request(PAY, 80, BATCH), "allowed", False, "shop/pay has no rules"),
    ],
)
def test_the_reason_is_told(mode: Mode, request_: Request, verdict: str, is_at_source: bool, text: str) -> None:
    found = explain(policy(mode), request_, is_guarded=True)
    assert (found.verdict, found.is_at_source) == (verdict, is_at_source)
    assert text in found.text


def test_outside_the_mesh_the_source_decides() -> None:
    inside = policy(Mode.LEARN, web=Mode.ENFORCE, batch=Mode.ENFORCE)
    assert explain(inside, Request(OUTSIDE, 443, WEB), is_guarded=False).verdict == "allowed"
    found = explain(inside, Request(OUTSIDE, 443, BATCH), is_guarded=False)
    assert (found.verdict, found.is_at_source) == ("denied", True)


REQUESTS = st.builds(
    Request, st.sampled_from(SERVICES), st.sampled_from(PORTS), st.sampled_from([*WORKLOADS, None]), st.just("127.1.2.3"), METHODS,
    st.sampled_from(["", "/a", "/a/b"]),
)  # fmt: skip


@given(policies(), REQUESTS)
def test_it_says_what_both_sidecars_do(made: Policy, request: Request) -> None:
    """Denied at the source, or else what the destination says."""
    outward = evaluate_egress(made, request, sees_requests=False)
    found = explain(made, request, is_guarded=True)
    assert found.outcome == (outward if isinstance(outward, Denied) else evaluate(made, request))
    assert found.text
    assert isinstance(found.outcome, Allowed) == (found.verdict == "allowed")
