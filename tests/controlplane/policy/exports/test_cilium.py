"""CiliumNetworkPolicies let pass what the policy does, methods and paths and hosts included."""

from __future__ import annotations

import re

from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.exports.cilium import cilium_policies
from controlplane.policy.exports.model import Effect, Names
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName, Topology
from tests.controlplane.policy.exports import boutique, cilium_evaluator
from tests.controlplane.policy.exports.calls import (
    Call,
    calls,
    check_outward,
    check_same,
    documents_of,
    outward_calls,
    topologies,
    worlds,
)
from tests.controlplane.policy.strategies import policies

CART, WEB = ServiceName("shop", "cart"), WorkloadId("shop", "web")


@given(st.data(), policies(), topologies(), st.sampled_from(["", "?x=/a/b"]))
def test_what_comes_in_is_what_the_policy_lets_pass(data: st.DataObject, policy: Policy, topology: Topology, query: str) -> None:
    """With and without a query, which Cilium matches and the policy does not."""
    export = cilium_policies(policy, topology, Names())
    documents = documents_of(export)
    for call in data.draw(st.lists(calls(topology), min_size=4, max_size=4)):
        passes = cilium_evaluator.passes(documents, call, query if call.method else "")
        check_same(policy, call, export.unsaid, passes=passes)


@given(st.data(), worlds())
def test_what_goes_out_is_what_the_policy_lets_pass(data: st.DataObject, world: tuple[Policy, Topology]) -> None:
    policy, topology = world
    export = cilium_policies(policy, topology, Names(), egress=True)
    documents = documents_of(export)
    for call in data.draw(st.lists(outward_calls(), min_size=3, max_size=3)):
        check_outward(policy, call, export.unsaid, passes=cilium_evaluator.passes(documents, call))
    for call in data.draw(st.lists(calls(topology), min_size=3, max_size=3)):
        check_same(policy, call, export.unsaid, passes=cilium_evaluator.passes(documents, call))


def test_a_service_is_one_manifest() -> None:
    rules = (Rule(WEB, 80, (HttpMatch("GET", "/cart/{id}"), HttpMatch("POST"))), Rule(AddressSource("10.0.0.0/8"), 81))
    policy = Policy(7, {CART: ServicePolicy(CART, rules)}, {CART: Mode.ENFORCE})
    (manifest,) = documents_of(cilium_policies(policy, Topology(), Names()))
    assert manifest["spec"] == {
        "endpointSelector": {"matchLabels": {"io.cilium.k8s.policy.serviceaccount": "cart"}},
        "ingress": [
            {"fromCIDR": ["10.0.0.0/8"], "toPorts": [{"ports": [{"port": "81", "protocol": "TCP"}]}]},
            {
                "fromEndpoints": [
                    {
                        "matchLabels": {
                            "k8s:io.kubernetes.pod.namespace": "shop",
                            "k8s:io.cilium.k8s.policy.serviceaccount": "web",
                        }
                    }
                ],
                "toPorts": [
                    {
                        "ports": [{"port": "80", "protocol": "TCP"}],
                        "rules": {"http": [{"path": r"/cart/[^/?#]+(\?.*)?", "method": "GET"}, {"method": "POST"}]},
                    }
                ],
            },
        ],
    }


def test_quarantine_lets_nothing_in_or_out_and_audit_is_listed() -> None:
    (shut,) = documents_of(cilium_policies(Policy(1, {}, {CART: Mode.QUARANTINE}), Topology(), Names()))
    assert isinstance(shut["spec"], dict)
    assert (shut["spec"]["ingress"], shut["spec"]["egress"]) == ([{}], [{}])
    watched = cilium_policies(Policy(1, {}, {CART: Mode.AUDIT}), Topology(), Names())
    assert (watched.manifests, watched.unsaid[-1].effect) == ((), Effect.SILENT)


def test_many_ports_are_several_entries() -> None:
    rules = tuple(Rule(WEB, port) for port in range(1, 96))
    modes = {CART: Mode.ENFORCE, ServiceName(*WEB): Mode.ENFORCE}
    export = cilium_policies(Policy(1, {CART: ServicePolicy(CART, rules)}, modes), Topology(), Names(), egress=True)
    outward = next(m for m in export.manifests if m["metadata"]["name"] == "picket-web-egress")
    assert [len(entry["ports"]) for entry in outward["spec"]["egress"][1]["toPorts"]] == [40, 40, 15]


def test_expressions_are_those_that_every_engine_takes() -> None:
    for manifest in cilium_policies(boutique.POLICY, boutique.TOPOLOGY, Names()).manifests:
        for rule in manifest["spec"]["ingress"]:
            for port in rule.get("toPorts", []):
                for http in port.get("rules", {}).get("http", []):
                    re.compile(http["path"])
                    assert "(?" not in http["path"]


def test_the_boutiques_calls_pass_and_no_others() -> None:
    documents = documents_of(cilium_policies(boutique.POLICY, boutique.TOPOLOGY, Names()))
    checkout, payment = WorkloadId("default", "checkoutservice"), ServiceName("default", "paymentservice")
    charge = Call(checkout, "10.0.0.1", payment, 50051, 50051, "POST", "/hipstershop.PaymentService/Charge")
    assert cilium_evaluator.passes(documents, charge)
    frontend = WorkloadId("default", "frontend")
    assert not cilium_evaluator.passes(documents, Call(frontend, "10.0.0.1", payment, 50051, 50051, "POST", charge.path))
    assert not cilium_evaluator.passes(documents, Call(checkout, "10.0.0.1", payment, 50051, 50051, "POST", "/x"))
