"""Expectations are evaluated as `policy.evaluate` does, and each verdict says why."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import Allowed, Denied, Request, evaluate
from controlplane.policy.expectations.document import Expectation, Sent, Source
from controlplane.policy.expectations.run import Outcome, junit_cases, run
from controlplane.policy.findings import Place
from controlplane.policy.rules import Mode, Policy
from controlplane.policy.traffic_documents import policy_of, read_documents
from controlplane.topology.document import parse_topology
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import PORTS, SERVICES, WORKLOADS, policies

DOCUMENTS = read_documents(
    b"""\
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: payment, namespace: shop}
spec:
  rules:
  - from: [{workload: shop/checkout}]
    ports: [50051]
    http: [{method: POST, path: /pay.Payment/Charge}]
  - from: [{workload: shop/a}, {workload: shop/b}, {workload: shop/c}, {workload: shop/d}, {cidr: 10.0.0.0/8}]
    ports: [80]
---
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: api.example.com, namespace: external}
spec:
  mode: enforce
  rules:
  - from: [{workload: shop/checkout}]
    ports: [443]
---
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata: {name: sick, namespace: shop}
spec:
  mode: quarantine
""",
    "p.yaml",
).documents
CHARGE = Sent("POST", "/pay.Payment/Charge")
OUTSIDE = parse_topology(b"services: [{name: bank, namespace: far, kind: external, ports: []}]", "mesh.yaml").topology
API = "external/api.example.com"


def _one(source: str, destination: str, port: int, sent: Sent = Sent(), mode: Mode = Mode.ENFORCE) -> Outcome:  # noqa: B008  # a value
    peer = Source(WorkloadId(*source.split("/"))) if "/" in source else Source(address=source)
    case = Expectation("it", (peer,), ServiceName(*destination.split("/")), port, (sent,), "allow", Place("t.yaml", 3))
    (outcome,) = run([case], policy_of(DOCUMENTS, default_mode=mode), DOCUMENTS, OUTSIDE)
    return outcome


@pytest.mark.parametrize(
    ("source", "destination", "port", "sent", "verdict", "why"),
    [
        ("shop/checkout", "shop/payment", 50051, CHARGE, "allow", "p.yaml:6"),
        ("10.1.1.1", "shop/payment", 80, Sent(), "allow", "p.yaml:9"),
        ("shop/checkout", "shop/payment", 50051, Sent("GET", "/"), "deny", "shop/checkout may only POST /pay.Payment/Charge"),
        ("shop/checkout", "shop/payment", 80, Sent(), "deny", "shop/checkout may only call port 50051"),
        ("shop/x", "shop/payment", 80, Sent(), "deny", "port 80 is for ip:10.0.0.0/8, shop/a, shop/b and 2 more"),
        ("shop/x", "shop/payment", 81, Sent(), "deny", "no rule opens port 81"),
        ("shop/x", "shop/other", 81, Sent(), "deny", "shop/other has no rules"),
        ("shop/sick", "shop/payment", 80, Sent(), "deny", "the destination or the source is in quarantine"),
        ("shop/x", "shop/sick", 80, Sent(), "deny", "the destination or the source is in quarantine"),
        ("shop/checkout", API, 443, Sent(), "allow", f"{API} is an approved host of shop/checkout"),
        ("shop/x", API, 443, Sent(), "deny", f"{API}:443 is not an approved host of shop/x"),
        ("shop/sick", API, 443, Sent(), "deny", "the destination or the source is in quarantine"),
        ("shop/x", "far/bank", 443, Sent(), "deny", "far/bank:443 is not an approved host of shop/x"),
    ],
)  # fmt: skip
def test_a_verdict_says_why(source: str, destination: str, port: int, sent: Sent, verdict: str, why: str) -> None:
    outcome = _one(source, destination, port, sent)
    assert (outcome.verdict, outcome.why) == (verdict, why)


def test_what_only_reports_is_would_deny_and_what_learns_allows() -> None:
    assert _one("shop/x", "shop/payment", 80, mode=Mode.AUDIT).verdict == "would-deny"
    assert _one("shop/x", "far/bank", 443, mode=Mode.AUDIT).verdict == "would-deny"
    assert _one("shop/x", "far/bank", 443, mode=Mode.LEARN).verdict == "allow"
    learning = _one("shop/x", "shop/payment", 80, mode=Mode.LEARN)
    assert (learning.verdict, learning.why) == ("allow", "shop/payment is in learn: everything passes")


CALLS = st.tuples(st.sampled_from([*WORKLOADS, None]), st.sampled_from(PORTS), st.sampled_from(["", "/a/b"]))


@given(policies(), st.sampled_from(SERVICES), CALLS)
def test_verdicts_are_those_of_the_policy(policy: Policy, name: ServiceName, call: tuple[WorkloadId | None, int, str]) -> None:
    workload, port, path = call
    source = Source(workload, "" if workload else "127.1.2.3")
    sent = Sent("GET", path) if path else Sent()
    case = Expectation("it", (source,), name, port, (sent,), "allow", Place("t.yaml"))
    (outcome,) = run([case], policy, ())
    found = evaluate(policy, Request(name, port, workload, source.address, sent.method, sent.path))
    wanted = "allow" if isinstance(found, Allowed) else "deny" if isinstance(found, Denied) else "would-deny"
    assert (outcome.verdict, outcome.met) == (wanted, wanted == "allow")


def test_each_source_and_request_is_a_case_of_its_own() -> None:
    sources = (Source(WorkloadId("shop", "checkout")), Source(address="10.0.0.1"))
    sent = (CHARGE, Sent("GET", "/"))
    case = Expectation("pay", sources, ServiceName("shop", "payment"), 50051, sent, "allow", Place("t.yaml", 3))
    outcomes = list(run([case], policy_of(DOCUMENTS, default_mode=Mode.ENFORCE), DOCUMENTS))
    assert [outcome.verdict for outcome in outcomes] == ["allow", "deny", "deny", "deny"]
    first, second, *_ = junit_cases(outcomes)
    assert (first.name, first.failure) == ("pay: shop/checkout -> shop/payment:50051 POST /pay.Payment/Charge", "")
    assert second.failure == "expected allow, but deny: shop/checkout may only POST /pay.Payment/Charge"
