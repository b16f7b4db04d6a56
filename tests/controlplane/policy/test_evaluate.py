"""The one meaning of a policy, case by case."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import (
    Allowed,
    Denied,
    DenyId,
    Outcome,
    Reason,
    Request,
    WouldDeny,
    approved_ports,
    egress_mode,
    evaluate,
    evaluate_egress,
    http_matches,
    may_reach,
    parse_deny_id,
)
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import PORTS, SERVICES, WORKLOADS, policies

CART, DB, API = ServiceName("shop", "cart"), ServiceName("shop", "db"), ServiceName("external", "api.example.com")
FRONT, STRANGER, OWN = WorkloadId("shop", "front"), WorkloadId("shop", "stranger"), WorkloadId("shop", "cart")
RULE = Rule(FRONT, 80, (HttpMatch("GET", "/items/*"), HttpMatch("POST")))
OFFICE = Rule(AddressSource("10.0.0.0/8"), 80, (HttpMatch("GET"),))
WHOLE = Rule(FRONT, 81)


def policy(**modes: Mode) -> Policy:
    services = {CART: ServicePolicy(CART, (RULE, OFFICE, WHOLE), 7), API: ServicePolicy(API, (Rule(OWN, 443),), 3)}
    return Policy(9, services, {ServiceName("shop", name): mode for name, mode in modes.items()}, Mode.LEARN)


def get(
    path: str = "/items/1", method: str = "GET", port: int = 80, source: WorkloadId | None = FRONT, address: str = ""
) -> Request:
    return Request(CART, port, source, address, method, path)


@pytest.mark.parametrize(
    ("request_", "rule"),
    [
        (get(), RULE),
        (get("/elsewhere", "POST"), RULE),
        (get("/elsewhere"), None),
        (get(method="get"), None),
        (get("/Items/1"), None),
        (get("/items/a%2F..%2Fb"), None),
        (get("/items/..;/b"), None),
        (get(source=STRANGER), None),
        (get(port=82), None),
        (get("", "", 81), WHOLE),
        (get("/anything", "BREW", 81), WHOLE),
        (get("", ""), None),
        (get(source=None, address="10.1.2.3"), OFFICE),
        (get(source=None, address="::ffff:10.1.2.3"), OFFICE),
        (get(source=None, address="11.1.2.3"), None),
        (get(source=None, address=""), None),
        (get(source=None, address="nonsense"), None),
        (get("/x", source=STRANGER, address="10.1.2.3"), None),
    ],
    ids=lambda value: "" if value is None or isinstance(value, Rule) else repr((value.method, value.path, value.source_address)),
)
def test_enforce_allows_what_a_rule_holds_and_nothing_else(request_: Request, rule: Rule | None) -> None:
    expected: Outcome = Denied(DenyId(CART, 7)) if rule is None else Allowed(rule)
    assert evaluate(policy(cart=Mode.ENFORCE), request_) == expected


@pytest.mark.parametrize(
    ("mode", "outcome"),
    [
        (Mode.LEARN, Allowed()),
        (Mode.AUDIT, WouldDeny(DenyId(CART, 7))),
        (Mode.ENFORCE, Denied(DenyId(CART, 7))),
        (Mode.QUARANTINE, Denied(DenyId(CART, 7, Reason.QUARANTINE))),
    ],
)
def test_what_no_rule_holds_follows_the_mode(mode: Mode, outcome: Outcome) -> None:
    assert evaluate(policy(cart=mode), get(source=STRANGER)) == outcome


def test_quarantine_of_the_destination_drops_what_a_rule_holds() -> None:
    assert evaluate(policy(cart=Mode.QUARANTINE), get()) == Denied(DenyId(CART, 7, Reason.QUARANTINE))


@pytest.mark.parametrize("mode", [Mode.LEARN, Mode.AUDIT, Mode.ENFORCE])
def test_a_quarantined_source_is_dropped_in_every_mode(mode: Mode) -> None:
    assert evaluate(policy(cart=mode, front=Mode.QUARANTINE), get()) == Denied(DenyId(CART, 7, Reason.QUARANTINE))


def test_a_service_without_a_list_allows_nothing_when_it_is_enforced() -> None:
    assert evaluate(policy(db=Mode.ENFORCE), Request(DB, 3306, FRONT)) == Denied(DenyId(DB, 0))


@pytest.mark.parametrize(
    ("modes", "source", "destination", "ports"),
    [
        ({}, FRONT, CART, None),
        ({"cart": Mode.AUDIT}, STRANGER, CART, None),
        ({"cart": Mode.ENFORCE}, FRONT, CART, {80, 81}),
        ({"cart": Mode.ENFORCE}, STRANGER, CART, set()),
        ({"cart": Mode.QUARANTINE}, FRONT, CART, set()),
        ({"front": Mode.QUARANTINE}, FRONT, CART, set()),
        ({"front": Mode.QUARANTINE}, FRONT, DB, set()),
        ({}, OWN, API, None),
        ({"cart": Mode.ENFORCE}, OWN, API, {443}),
        ({"front": Mode.ENFORCE}, FRONT, API, set()),
        ({"front": Mode.ENFORCE}, FRONT, DB, None),
    ],
)
def test_what_a_source_may_reach(
    modes: dict[str, Mode], source: WorkloadId, destination: ServiceName, ports: set[int] | None
) -> None:
    assert may_reach(policy(**modes), source, destination) == (None if ports is None else frozenset(ports))


def test_a_declared_mode_of_an_external_host_comes_before_its_source() -> None:
    declared = Policy(1, {}, {API: Mode.ENFORCE}, Mode.LEARN)
    assert egress_mode(declared, OWN, API) is Mode.ENFORCE
    assert egress_mode(policy(cart=Mode.AUDIT), OWN, API) is Mode.AUDIT


@given(policies(), st.sampled_from([CART, DB, ServiceName("shop", "web")]), st.sampled_from([FRONT, OWN, STRANGER]))
def test_a_source_reaches_every_port_on_which_something_of_it_is_allowed(
    random: Policy, destination: ServiceName, source: WorkloadId
) -> None:
    """The source's sidecar never drops what the destination's would let in."""
    reachable = may_reach(random, source, destination)
    for rule in random.of(destination).rules:
        path = rule.http[0].path if rule.http and not rule.http[0].is_template and not rule.http[0].is_prefix else "/"
        method = (rule.http[0].method if rule.http else "") or "GET"
        outcome = evaluate(random, Request(destination, rule.port, source, "", method, path or "/"))
        if isinstance(outcome, Allowed) and outcome.rule is not None:
            assert reachable is None or rule.port in reachable
    assert approved_ports(random, source, destination) == {r.port for r in random.of(destination).rules if r.source == source}


@pytest.mark.parametrize("path", ["/a%2fb", "//a", "/a/..;/b"])
def test_an_ambiguous_path_satisfies_its_exact_rule_and_rules_without_a_path_only(path: str) -> None:
    assert http_matches(HttpMatch("GET", path), "GET", path)
    assert http_matches(HttpMatch("GET"), "GET", path)
    assert not http_matches(HttpMatch("GET", "/*"), "GET", path)


NAMES = st.from_regex(r"[a-z0-9._-]{1,63}", fullmatch=True)
DENY_IDS = st.builds(DenyId, st.builds(ServiceName, NAMES, NAMES), st.integers(0, 10**12 - 1), st.sampled_from(Reason))


@given(DENY_IDS)
def test_a_deny_id_is_read_as_it_was_written(deny_id: DenyId) -> None:
    assert parse_deny_id(str(deny_id)) == deny_id


@pytest.mark.parametrize(
    "text",
    ["", "deny:", "deny:a/b", "deny:a/b@r", "deny:a/b@rx", "deny:a/b@r1/other", "would-deny:a/b@r1", "deny:a/b/c@r1",
     "deny:a/b@r1\n", "deny:a/b@r01", "deny:a/b@r\u0661", "none", "deny:a/b@r1/not-listed"],
)  # fmt: skip
def test_another_text_is_no_deny_id(text: str) -> None:
    assert parse_deny_id(text) is None


@given(st.text(max_size=60))
def test_any_text_is_a_deny_id_or_none(text: str) -> None:
    found = parse_deny_id(text)
    assert found is None or str(found) == text


@given(policies(), st.sampled_from(WORKLOADS), st.sampled_from([*SERVICES, API]), st.sampled_from(PORTS))
def test_the_sources_sidecar_lets_out_what_the_source_may_reach(
    made: Policy, source: WorkloadId, destination: ServiceName, port: int
) -> None:
    ports = may_reach(made, source, destination)
    outcome = evaluate_egress(made, Request(destination, port, source), sees_requests=False)
    assert isinstance(outcome, Allowed) == (ports is None or port in ports)
    assert not isinstance(outcome, WouldDeny)


def test_the_sources_sidecar_decides_on_requests_where_no_other_stands() -> None:
    outside = ServiceName("external", "api.example.com")
    own = ServiceName("shop", "cart")
    listed = {
        outside: ServicePolicy(outside, (Rule(OWN, 443, (HttpMatch("GET"),)),), 3),
        own: ServicePolicy(own, (), 2, 3),
    }
    for mode, other in ((Mode.LEARN, Allowed), (Mode.AUDIT, WouldDeny), (Mode.ENFORCE, Denied)):
        made = Policy(9, listed, {own: mode})
        get_, post = (Request(outside, 443, OWN, "", method, "/") for method in ("GET", "POST"))
        assert isinstance(evaluate_egress(made, get_, sees_requests=True), Allowed)
        outcome = evaluate_egress(made, post, sees_requests=True)
        assert isinstance(outcome, other)
        assert isinstance(outcome, Allowed) or str(outcome.deny_id) == "deny:shop/cart@r3/egress"
    assert isinstance(evaluate_egress(made, Request(outside, 443), sees_requests=True), Allowed)
