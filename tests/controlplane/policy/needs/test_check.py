"""The CI gate: what is needed and not approved, and what a change takes away though it is used."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.answers import Use
from controlplane.policy.evaluate import Allowed, Request, evaluate
from controlplane.policy.findings import Finding, Place
from controlplane.policy.needs.check import ABOUT, Change, check_needs, check_removals, missing_edges
from controlplane.policy.needs.document import Needs, read_needs
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.document import parse_topology
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import PORTS, SERVICES, SOURCES, policies

CHECKOUT, PAYMENT, CART = WorkloadId("shop", "checkout"), ServiceName("shop", "payment"), ServiceName("shop", "cart")
CHARGE, REFUND = HttpMatch("POST", "/pay.Payment/Charge"), HttpMatch("POST", "/pay.Payment/Refund")
DAY_MS = 86_400_000
NOW_MS = 100 * DAY_MS
TOPOLOGY = parse_topology(
    b"services:\n- {name: payment, namespace: shop, kind: service, ports: [{port: 50051, protocol: grpc}]}\n", "mesh.yaml"
).topology


def _needs(*needs: str) -> tuple[Needs, ...]:
    head = "apiVersion: picket.dev/v1alpha1\nkind: ServiceNeeds\nservice: shop/checkout\nneeds:\n"
    text = head + "".join(f"- {need}\n" for need in needs)
    documents, findings = read_needs(text.encode(), "picket.yaml")
    assert findings == ()
    return documents


def _policy(*rules: Rule, service: ServiceName = PAYMENT, mode: Mode = Mode.ENFORCE) -> Policy:
    return Policy(1, {service: ServicePolicy(service, rules)}, {service: mode}, Mode.ENFORCE)


def _said(findings: list[Finding]) -> list[str]:
    assert all(finding.rule in ABOUT for finding in findings)
    return [f"{f.severity} {f.rule} {f.place.line}: {f.message}" for f in findings]


REQUESTS = "{method: POST, path: /pay.Payment/Charge}, {method: POST, path: /pay.Payment/Refund}"
PAY = f"{{to: shop/payment, port: 50051, requests: [{REQUESTS}]}}"


def test_needs_that_are_approved_have_no_findings() -> None:
    for http in ((CHARGE, REFUND), (), (HttpMatch("POST", "/pay.Payment/*"),)):
        assert list(check_needs(_needs(PAY), _policy(Rule(CHECKOUT, 50051, http)), TOPOLOGY)) == []


def test_a_need_that_is_not_approved_is_an_error() -> None:
    assert _said(list(check_needs(_needs(PAY), _policy(Rule(WorkloadId("shop", "web"), 50051))))) == [
        "error need-not-approved 5: shop/checkout -> shop/payment:50051 is not approved"
    ]


def test_requests_that_are_not_approved_are_named() -> None:
    policy = _policy(Rule(CHECKOUT, 50051, (CHARGE,)))
    assert _said(list(check_needs(_needs(PAY), policy))) == [
        "error need-partly-approved 5: shop/checkout -> shop/payment:50051 is approved, but not POST /pay.Payment/Refund"
    ]
    (missing,) = missing_edges(_needs(PAY), policy)
    assert (missing.need.destination, missing.http) == (PAYMENT, (REFUND,))


def test_an_optional_need_is_only_told_of() -> None:
    (found,) = check_needs(_needs("{to: shop/payment, port: 50051, optional: true}"), _policy())
    assert found.severity.value == "info"


def test_names_and_ports_that_do_not_exist_are_told_of() -> None:
    needs = _needs("{to: shop/paiment, port: 1}", "{to: shop/payment, port: 2}", "{to: external/x.example, port: 443}")
    found = _said(list(check_needs(needs, _policy(), TOPOLOGY)))
    assert "warning unknown-destination 5: shop/paiment does not exist" in found
    assert "warning unknown-port 6: shop/payment does not declare port 2" in found
    assert len(found) == 5


def test_quarantine_and_rules_that_nobody_declares_are_told_of() -> None:
    policy = _policy(Rule(CHECKOUT, 50051), Rule(CHECKOUT, 9090), mode=Mode.QUARANTINE)
    assert _said(list(check_needs(_needs("{to: shop/payment, port: 50051}"), policy))) == [
        "warning need-quarantined 5: shop/checkout or shop/payment is in quarantine",
        "info approved-not-declared 1: shop/checkout -> shop/payment:9090 is approved, but not declared",
    ]


def _use(source: WorkloadId | AddressSource = CHECKOUT, *http: HttpMatch, days_ago: int = 1) -> Use:
    return Use(source, PAYMENT, 50051, "grpc", http, 7, NOW_MS - days_ago * DAY_MS)


def _removed(before: Policy, after: Policy, *uses: Use) -> list[str]:
    change = Change(before, after, {PAYMENT: Place("payment.yaml", 3)}, "policies")
    return [f"{f.severity} {f.rule} {f.place}: {f.message}" for f in check_removals(change, uses, NOW_MS, 7)]


def test_a_used_edge_that_a_change_removes_is_an_error_where_the_service_is_written() -> None:
    before = _policy(Rule(CHECKOUT, 50051, (CHARGE, REFUND)))
    after = _policy(Rule(CHECKOUT, 50051, (REFUND,)))
    edge = "shop/checkout -> shop/payment:50051 POST /pay.Payment/Charge"
    assert _removed(before, after, _use(CHECKOUT, CHARGE, REFUND, days_ago=3)) == [
        f"error used-edge-removed payment.yaml:3:1: {edge} was used 3 d ago (7 times in all), and this change denies it"
    ]
    assert _removed(before, before, _use(CHECKOUT, CHARGE)) == []


def test_an_edge_that_was_not_used_lately_or_never_approved_may_go() -> None:
    before, after = _policy(Rule(CHECKOUT, 50051, (CHARGE,))), _policy()
    assert _removed(before, after, _use(CHECKOUT, CHARGE, days_ago=8)) == []
    assert _removed(before, after, _use(CHECKOUT, REFUND)) == []
    assert _removed(before, after, _use(WorkloadId("shop", "web"), CHARGE)) == []


def test_the_whole_port_and_addresses_count_too() -> None:
    network = AddressSource("10.0.0.0/8")
    assert len(_removed(_policy(Rule(network, 50051)), _policy(), _use(AddressSource("10.1.2.3")))) == 1
    narrowed = _policy(Rule(CHECKOUT, 50051, (CHARGE,)))
    assert len(_removed(_policy(Rule(CHECKOUT, 50051)), narrowed, _use())) == 1
    assert _removed(_policy(Rule(CHECKOUT, 50051)), narrowed, _use(CHECKOUT, CHARGE)) == []


def test_a_use_of_which_only_the_method_is_known_is_a_warning_when_less_is_allowed() -> None:
    before = _policy(Rule(CHECKOUT, 50051, (HttpMatch("GET", "/a/*"), HttpMatch("GET", "/b"))))
    after = _policy(Rule(CHECKOUT, 50051, (HttpMatch("GET", "/a/*"),)))
    (found,) = _removed(before, after, _use(CHECKOUT, HttpMatch("GET")))
    assert found.startswith("warning used-edge-narrowed")
    assert _removed(after, before, _use(CHECKOUT, HttpMatch("GET"))) == []
    assert _removed(before, _policy(), _use(CHECKOUT, HttpMatch("GET")))[0].startswith("error used-edge-removed")


def test_a_change_that_begins_to_enforce_fails_on_what_is_used_and_not_approved() -> None:
    assert _removed(_policy(mode=Mode.AUDIT), _policy(), _use())[0].startswith("error used-edge-enforced")
    assert _removed(_policy(mode=Mode.AUDIT), _policy(Rule(CHECKOUT, 50051)), _use()) == []
    assert _removed(_policy(), _policy(), _use()) == []


def test_a_change_that_quarantines_fails_on_what_is_used() -> None:
    rule = Rule(CHECKOUT, 50051)
    assert _removed(_policy(rule), _policy(rule, mode=Mode.QUARANTINE), _use())[0].startswith("error used-edge-removed")
    sick = Policy(1, {PAYMENT: ServicePolicy(PAYMENT, (rule,))}, {ServiceName(*CHECKOUT): Mode.QUARANTINE}, Mode.ENFORCE)
    assert _removed(_policy(rule), sick, _use())[0].startswith("error used-edge-removed")


PATHS = st.sampled_from(["/", "/a", "/a/b", "/a/x/c", "/shop.Cart/Get"])
USES = st.tuples(SOURCES, st.sampled_from(SERVICES), st.sampled_from(PORTS), st.sampled_from(["GET", "POST"]), PATHS)


@pytest.mark.parametrize("method_known", [True, False])
@given(policies(), policies(), USES)
def test_what_passed_and_no_longer_does_is_always_found(
    method_known: bool, before: Policy, after: Policy, used: tuple[WorkloadId | AddressSource, ServiceName, int, str, str]
) -> None:
    source, name, port, method, path = used
    address = source.cidr.partition("/")[0] if isinstance(source, AddressSource) else ""
    source = AddressSource(address) if isinstance(source, AddressSource) else source
    sent = (method, path) if method_known else ("", "")
    use = Use(source, name, port, "http", (HttpMatch(*sent),) if method_known else (), 1, NOW_MS)
    request = Request(name, port, None if address else source, address, *sent)  # type: ignore[arg-type]  # a workload, or None
    passed, passes = (isinstance(evaluate(policy, request), Allowed) for policy in (before, after))
    found = list(check_removals(Change(before, after, {}), [use], NOW_MS, 7))
    if passed and not passes and after.mode(name) is not Mode.AUDIT:
        assert found
