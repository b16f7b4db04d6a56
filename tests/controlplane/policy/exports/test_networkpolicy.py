"""NetworkPolicies let pass what the policy does, but where they say that they cannot."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.exports.manifests import write_export
from controlplane.policy.exports.model import Effect, Names
from controlplane.policy.exports.networkpolicy import network_policies
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName, Topology
from tests.controlplane.policy.exports import boutique, kube_evaluator
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


@given(st.data(), policies(), topologies())
def test_what_comes_in_is_what_the_policy_lets_pass(data: st.DataObject, policy: Policy, topology: Topology) -> None:
    export = network_policies(policy, topology, Names())
    documents = documents_of(export)
    for call in data.draw(st.lists(calls(topology), min_size=4, max_size=4)):
        check_same(policy, call, export.unsaid, passes=kube_evaluator.passes(documents, call))


@given(st.data(), worlds())
def test_what_goes_out_is_what_the_policy_lets_pass(data: st.DataObject, world: tuple[Policy, Topology]) -> None:
    policy, topology = world
    export = network_policies(policy, topology, Names(), egress=True)
    documents = documents_of(export)
    for call in data.draw(st.lists(outward_calls(), min_size=3, max_size=3)):
        check_outward(policy, call, export.unsaid, passes=kube_evaluator.passes(documents, call))
    for call in data.draw(st.lists(calls(topology), min_size=3, max_size=3)):
        check_same(policy, call, export.unsaid, passes=kube_evaluator.passes(documents, call))


def test_a_service_is_one_manifest() -> None:
    rules = (Rule(WEB, 80), Rule(WEB, 81), Rule(AddressSource("10.0.0.0/8"), 80))
    policy = Policy(7, {CART: ServicePolicy(CART, rules)}, {CART: Mode.ENFORCE})
    text = write_export(network_policies(policy, Topology(), Names(label="run")), 7, "NetworkPolicy")
    assert (
        text
        == """\
# NetworkPolicy, exported by picket from policy revision 7.
# Where it differs from the policy (wider: lets more pass, narrower: drops more, assumed: unless this holds):
# - assumed: pods carry their workload's name in the label run, and nobody else may set it
# - assumed: networks are outside the cluster: a pod within one would be let in, too
apiVersion: networking.k8s.io/v1
kind: NetworkPolicy
metadata:
  name: picket-cart
  namespace: shop
  labels:
    app.kubernetes.io/managed-by: picket
spec:
  podSelector:
    matchLabels:
      run: cart
  policyTypes: [Ingress]
  ingress:
  - from:
    - ipBlock:
        cidr: 10.0.0.0/8
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: shop
      podSelector:
        matchLabels:
          run: web
    ports:
    - protocol: TCP
      port: 80
  - from:
    - namespaceSelector:
        matchLabels:
          kubernetes.io/metadata.name: shop
      podSelector:
        matchLabels:
          run: web
    ports:
    - protocol: TCP
      port: 81
"""
    )


@pytest.mark.parametrize(
    ("mode", "effects"), [(Mode.LEARN, []), (Mode.AUDIT, [Effect.SILENT]), (Mode.ENFORCE, []), (Mode.QUARANTINE, [])]
)
def test_only_what_enforces_is_restricted_and_audit_is_listed(mode: Mode, effects: list[Effect]) -> None:
    export = network_policies(Policy(1, {}, {CART: mode}), Topology(), Names())
    assert len(export.manifests) == (mode in {Mode.ENFORCE, Mode.QUARANTINE})
    assert [unsaid.effect for unsaid in export.unsaid if unsaid.service == CART] == effects


def test_methods_paths_hosts_and_impossible_names_are_listed_not_dropped() -> None:
    api, odd = ServiceName("external", "api.example.com"), ServiceName("Shop", "cart")
    services = {
        CART: ServicePolicy(CART, (Rule(WEB, 80, (HttpMatch("GET"),)), Rule(WorkloadId("Shop", "web"), 81))),
        odd: ServicePolicy(odd, (Rule(WEB, 80),)),
        api: ServicePolicy(api, (Rule(WEB, 443),)),
    }
    policy = Policy(1, services, {}, Mode.ENFORCE)
    found = {(u.effect, u.service, u.rule is not None) for u in network_policies(policy, Topology(), Names()).unsaid if u.service}
    assert found == {
        (Effect.WIDER, CART, True), (Effect.NARROWER, CART, True), (Effect.WIDER, odd, False), (Effect.WIDER, api, True),
    }  # fmt: skip
    outward = network_policies(policy, Topology(), Names(), egress=True).unsaid
    assert {u.effect for u in outward if u.service == api} == {Effect.NARROWER}


@pytest.fixture(scope="module")
def handwritten() -> set[tuple[str, str, int]]:
    return {
        (edge["from"], edge["to"], edge["port"])
        for edge in yaml.safe_load((Path(boutique.DATA) / "online-boutique-networkpolicy.yaml").read_text())["edges"]
        if edge["from"] != "*"
    }


def test_the_export_lets_pass_what_people_wrote_by_hand_for_the_same_application(handwritten: set[tuple[str, str, int]]) -> None:
    """By hand, anybody may call the frontend; the policy lets the load generator only, and the optional assistant is in it."""
    documents = documents_of(network_policies(boutique.POLICY, boutique.TOPOLOGY, Names()))
    passing = set()
    for source in boutique.TOPOLOGY.services:
        for destination, service in boutique.TOPOLOGY.services.items():
            for port in service.ports:
                call = Call(WorkloadId(*source), "10.0.0.1", destination, port.number, port.target)
                if kube_evaluator.passes(documents, call):
                    passing.add((source.name, destination.name, port.target))
    assert passing == handwritten | {("loadgenerator", "frontend", 8080), ("frontend", "shoppingassistantservice", 80)}
