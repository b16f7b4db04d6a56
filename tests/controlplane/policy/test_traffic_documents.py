"""`TrafficPolicy` documents are read as written, mean one policy, and a policy becomes documents that mean it."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.findings import Place
from controlplane.policy.revise import merge
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.policy.traffic_documents import Reading, documents_of, file_name, policy_of, read_documents
from controlplane.policy.traffic_policy import TrafficPolicy
from controlplane.policy.traffic_text import write_documents
from controlplane.topology.model import ServiceName
from tests.controlplane.policy.strategies import policies
from tests.controlplane.policy.traffic import documents

CART = """\
apiVersion: picket.dev/v1alpha1
kind: TrafficPolicy
metadata:
  name: cart
  namespace: shop
spec:
  mode: enforce
  rules:
  - from:
    - workload: shop/frontend
    - cidr: 10.0.0.0/8
    ports: [70, 71]
    http:
    - method: GET
      path: /cart/{id}
    lease:
      owner: team-cart
"""


def test_a_document_is_read_with_its_places() -> None:
    (document,) = read_documents(CART.encode(), "cart.yaml").documents
    (rule,) = document.rules
    assert (document.service, document.mode) == (ServiceName("shop", "cart"), Mode.ENFORCE)
    assert [peer.source for peer in rule.peers] == [WorkloadId("shop", "frontend"), AddressSource("10.0.0.0/8")]
    assert rule.http[0].match == HttpMatch("GET", "/cart/{id}")
    assert (rule.place, rule.at("ports"), rule.peers[1].place, rule.http[0].place) == (
        Place("cart.yaml", 9, 5), Place("cart.yaml", 12, 5), Place("cart.yaml", 11, 7), Place("cart.yaml", 14, 7),
    )  # fmt: skip
    assert rule.at("protocol") == rule.place
    assert len(list(document.expanded())) == 4


def test_a_document_that_does_not_read_hides_no_other() -> None:
    broken = CART.replace("ports: [70, 71]", "ports: [0]\n    colour: red").replace("name: cart", "name: basket")
    found = read_documents(f"{broken}---\n{CART}---\napiVersion: v1\nkind: Service\n".encode(), "all.yaml")
    assert [document.service.name for document in found.documents] == ["cart"]
    assert [str(finding) for finding in found.findings] == [
        "all.yaml:12:13: error: spec.rules[0].ports[0]: 0 is not a port number: 1 to 65535 [invalid]",
        "all.yaml:13:5: error: spec.rules[0].colour: is not a known key; known are from, ports, protocol, http, lease [invalid]",
    ]
    assert found.others == 1


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a: [", "not YAML: did not find expected node content"),
        ("- x\n", "a list where a mapping is wanted"),
        (CART.replace("kind: TrafficPolicy", "kind: TrafficTest"), "kind: 'TrafficTest' where TrafficPolicy is wanted"),
        (CART.replace("kind: TrafficPolicy", "kind: Traffic Policy"), "'Traffic Policy' where TrafficPolicy is wanted"),
        (CART.replace("picket.dev/v1alpha1", "picket.dev/v2"), "'picket.dev/v2' is not one of picket.dev/v1alpha1"),
        (CART.replace("10.0.0.0/8", "10.0.0.1/8"), "10.0.0.1/8 has host bits set; write a network"),
        (CART.replace("shop/frontend", "frontend"), "'frontend' is not a workload: namespace/account"),
        (CART.replace("/cart/{id}", "/cart?x"), "a path starts with '/', has no query"),
        (CART.replace("owner: team-cart", "expires: soon"), "'soon' is no date"),
        (CART.replace("owner: team-cart", "expires: 2026-01-01T00:00"), "has no offset; append Z for UTC"),
        (CART.replace("mode: enforce", "mode: enforced"), "did you mean enforce?"),
    ],
)  # fmt: skip
def test_what_does_not_read_is_told(text: str, said: str) -> None:
    found = read_documents(text.encode(), "f.yaml")
    assert found.documents == ()
    assert said in str(found.findings[0])


@given(documents())
def test_documents_are_read_as_they_were_written(given: tuple[TrafficPolicy, ...]) -> None:
    found = read_documents(write_documents(given).encode(), "f.yaml")
    assert found == Reading(given)


@given(policies())
def test_a_policy_becomes_documents_that_mean_it(policy: Policy) -> None:
    made = policy_of(documents_of(policy), revision=policy.revision, default_mode=policy.default_mode)
    assert made.modes == policy.modes
    for name in {*policy.services, *made.services}:
        assert merge(made.of(name).rules) == merge(policy.of(name).rules)


@given(documents())
def test_documents_become_a_policy_and_the_same_policy_again(given: tuple[TrafficPolicy, ...]) -> None:
    policy = policy_of(given)
    again = policy_of(documents_of(policy))
    assert {name: listed.rules for name, listed in again.services.items() if listed.rules} == {
        name: listed.rules for name, listed in policy.services.items() if listed.rules
    }


def test_peers_and_ports_that_may_do_the_same_are_one_rule() -> None:
    names = [WorkloadId("shop", name) for name in ("a", "b")]
    rules = tuple(Rule(source, port, (HttpMatch("GET", "/"),)) for source in names for port in (80, 81))
    cart = ServiceName("shop", "cart")
    (document,) = documents_of(Policy(1, {cart: ServicePolicy(cart, rules)}), {cart: {80: "http", 81: "http"}})
    (rule,) = document.rules
    assert ([peer.source for peer in rule.peers], rule.ports, rule.protocol) == (names, (80, 81), "http")


def test_a_rule_of_very_many_peers_is_several() -> None:
    cart = ServiceName("shop", "cart")
    rules = tuple(Rule(WorkloadId("shop", f"w{number}"), 80) for number in range(2500))
    made = documents_of(Policy(1, {cart: ServicePolicy(cart, rules)}))
    assert [len(rule.peers) for rule in made[0].rules] == [1000, 1000, 500]
    assert read_documents(write_documents(made).encode(), "f.yaml").documents == made


@given(st.binary(max_size=300))
def test_any_bytes_are_read_or_told_of(body: bytes) -> None:
    assert isinstance(read_documents(body, "f.yaml"), Reading)


def test_a_file_is_named_after_the_service() -> None:
    assert file_name(ServiceName("shop", "cart")) == "shop.cart.yaml"
    assert file_name(ServiceName("external", "::1")) == "external.__1.yaml"
