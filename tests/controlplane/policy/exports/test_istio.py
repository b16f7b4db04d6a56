"""AuthorizationPolicies let pass what the policy does, but where they say that they cannot."""

from __future__ import annotations

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.exports.istio import authorization_policies, istio_path
from controlplane.policy.exports.model import Effect, Names
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName, Topology
from tests.controlplane.policy.exports import boutique, istio_evaluator
from tests.controlplane.policy.exports.calls import Call, calls, check_same, documents_of, topologies
from tests.controlplane.policy.strategies import policies

CART, WEB = ServiceName("shop", "cart"), WorkloadId("shop", "web")


@given(st.data(), policies(), topologies())
def test_what_comes_in_is_what_the_policy_lets_pass(data: st.DataObject, policy: Policy, topology: Topology) -> None:
    export = authorization_policies(policy, topology, Names())
    documents = documents_of(export)
    for document in documents:
        istio_evaluator.check_valid(document)
    for call in data.draw(st.lists(calls(topology), min_size=4, max_size=4)):
        check_same(policy, call, export.unsaid, passes=istio_evaluator.passes(documents, call))


@pytest.mark.parametrize(
    ("path", "said"),
    [
        ("", ""), ("/", "/"), ("/a/b", "/a/b"), ("/a*", "/a*"), ("/*", "/*"), ("/a/{id}", "/a/{*}"), ("/{x}/b", "/{*}/b"),
        ("/a/{id}/*", "/a/{*}/{**}"), ("/a/*/c", "/a/{*}/c"), ("/a/{id}/", "/a/{*}/"),
        ("/a/{id}/b*", None), ("/v{x}", None), ("/a*b/c", None), ("/{a-b}", None), ("/{id}/[x]", None),
    ],
)  # fmt: skip
def test_a_path_is_said_in_istios_words_or_not_at_all(path: str, said: str | None) -> None:
    assert istio_path(HttpMatch("", path)) == said


def test_a_service_is_one_manifest() -> None:
    rules = (
        Rule(WEB, 80, (HttpMatch("GET", "/cart/{id}"), HttpMatch("GET", "/cart"), HttpMatch("POST"))),
        Rule(AddressSource("10.0.0.0/8"), 81),
    )
    policy = Policy(7, {CART: ServicePolicy(CART, rules)}, {CART: Mode.ENFORCE})
    (manifest,) = documents_of(authorization_policies(policy, Topology(), Names(trust_domain="td")))
    assert manifest["spec"] == {
        "selector": {"matchLabels": {"app": "cart"}},
        "action": "ALLOW",
        "rules": [
            {
                "from": [{"source": {"ipBlocks": ["10.0.0.0/8"], "notPrincipals": ["*"]}}],
                "to": [{"operation": {"ports": ["81"]}}],
            },
            {
                "from": [{"source": {"principals": ["td/ns/shop/sa/web"]}}],
                "to": [
                    {"operation": {"ports": ["80"], "methods": ["GET"], "paths": ["/cart", "/cart/{*}"]}},
                    {"operation": {"ports": ["80"], "methods": ["POST"]}},
                ],
            },
        ],
    }


def test_audit_is_a_dry_run_and_quarantine_denies_everywhere() -> None:
    (watched,) = documents_of(authorization_policies(Policy(1, {}, {CART: Mode.AUDIT}), Topology(), Names()))
    assert watched["metadata"]["annotations"] == {"istio.io/dry-run": "true"}
    own, everywhere = documents_of(authorization_policies(Policy(1, {}, {CART: Mode.QUARANTINE}), Topology(), Names()))
    assert (own["spec"]["action"], own["spec"]["rules"]) == ("DENY", [{}])
    assert (everywhere["metadata"]["namespace"], everywhere["spec"]["rules"]) == (
        "istio-system", [{"from": [{"source": {"principals": ["cluster.local/ns/shop/sa/cart"]}}]}],
    )  # fmt: skip


def test_a_service_that_nobody_may_call_lets_nothing_in() -> None:
    (manifest,) = documents_of(authorization_policies(Policy(1, {}, {CART: Mode.ENFORCE}), Topology(), Names()))
    assert "rules" not in manifest["spec"]
    assert not istio_evaluator.passes([manifest], Call(WEB, "10.0.0.1", CART, 80, 80))


def test_patterns_without_a_word_are_listed_and_left_out() -> None:
    rule = Rule(WEB, 80, (HttpMatch("GET", "/v{x}"), HttpMatch("GET", "/ok"), HttpMatch("", "/a/*/c"), HttpMatch("X*", "/y")))
    policy = Policy(1, {CART: ServicePolicy(CART, (rule,))}, {CART: Mode.ENFORCE})
    export = authorization_policies(policy, Topology(), Names())
    assert sorted(unsaid.why for unsaid in export.unsaid if unsaid.effect is Effect.NARROWER) == [
        "/a/*/c: an empty segment does not fit", "/v{x}: only whole segments may be left open", "X*: reads as a pattern",
    ]  # fmt: skip
    (manifest,) = export.manifests
    assert [item["operation"].get("paths") for item in manifest["spec"]["rules"][0]["to"]] == [["/a/{*}/c"], ["/ok"]]


def test_the_export_is_as_narrow_as_the_code_where_people_wrote_it_wider_by_hand() -> None:
    """By hand each source of a service gets each of its methods; the policy has only those that are called."""
    wider = yaml.safe_load((boutique.DATA / "online-boutique-istio-authorizationpolicy.yaml").read_text())["edges"]
    documents = documents_of(authorization_policies(boutique.POLICY, boutique.TOPOLOGY, Names()))
    only_by_hand = set()
    for edge in wider:
        if edge["from"] == "*":
            continue
        name = ServiceName("default", edge["to"])
        target = next(port for port in boutique.TOPOLOGY.services[name].ports if port.target == edge["port"])
        for request in edge.get("requests", [{"method": "", "path": ""}]):
            source = WorkloadId("default", edge["from"])
            call = Call(source, "10.0.0.1", name, target.number, target.target, request["method"], request["path"])
            if not istio_evaluator.passes(documents, call):
                only_by_hand.add((edge["from"], request["path"].rpartition(".")[2]))
    assert only_by_hand == {
        ("frontend", "ShippingService/ShipOrder"),
        ("checkoutservice", "CartService/AddItem"),
        ("checkoutservice", "CurrencyService/GetSupportedCurrencies"),
        ("checkoutservice", "ProductCatalogService/ListProducts"),
        ("recommendationservice", "ProductCatalogService/GetProduct"),
    }
