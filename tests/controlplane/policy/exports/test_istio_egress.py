"""Sidecars and ServiceEntries let out what the policy does, but where they say that they cannot."""

from __future__ import annotations

import yaml
from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.exports.istio import authorization_policies
from controlplane.policy.exports.model import Effect, Names
from controlplane.policy.rules import Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import ServiceName, Topology
from tests.controlplane.policy.exports import boutique, istio_evaluator
from tests.controlplane.policy.exports.calls import calls, check_outward, check_same, documents_of, outward_calls, worlds

API, WEB, CART = ServiceName("external", "api.example.com"), WorkloadId("shop", "web"), ServiceName("shop", "cart")


@given(st.data(), worlds())
def test_what_goes_out_is_what_the_policy_lets_pass(data: st.DataObject, world: tuple[Policy, Topology]) -> None:
    policy, topology = world
    export = authorization_policies(policy, topology, Names(), egress=True)
    documents = documents_of(export)
    for call in data.draw(st.lists(outward_calls(), min_size=3, max_size=3)):
        denied = call.source is not None and policy.is_quarantined(call.source)
        if not denied:
            check_outward(policy, call, export.unsaid, passes=istio_evaluator.visible(documents, call))
    for call in data.draw(st.lists(calls(topology), min_size=3, max_size=3)):
        passes = istio_evaluator.passes(documents, call) and istio_evaluator.visible(documents, call)
        check_same(policy, call, export.unsaid, passes=passes)


def test_a_workload_is_one_sidecar_and_a_host_one_entry() -> None:
    services = {API: ServicePolicy(API, (Rule(WEB, 443),)), CART: ServicePolicy(CART, (Rule(WEB, 70),))}
    policy = Policy(1, services, {ServiceName(*WEB): Mode.ENFORCE}, Mode.ENFORCE)
    documents = documents_of(authorization_policies(policy, Topology(), Names(), egress=True))
    sidecar = next(d for d in documents if d["kind"] == "Sidecar" and d["metadata"]["name"] == "picket-web")
    assert sidecar["spec"] == {
        "workloadSelector": {"labels": {"app": "web"}},
        "outboundTrafficPolicy": {"mode": "REGISTRY_ONLY"},
        "egress": [{"hosts": ["istio-system/*", "./api.example.com", "shop/cart.shop.svc.cluster.local"]}],
    }
    (entry,) = [document for document in documents if document["kind"] == "ServiceEntry"]
    assert (entry["metadata"]["namespace"], entry["spec"]) == (
        "shop",
        {
            "hosts": ["api.example.com"],
            "ports": [{"number": 443, "name": "tls-443", "protocol": "TLS"}],
            "location": "MESH_EXTERNAL",
            "resolution": "DNS",
            "exportTo": ["."],
        },
    )


def test_ports_that_others_of_the_namespace_may_call_and_bytes_without_a_host_are_listed() -> None:
    other = WorkloadId("shop", "batch")
    services = {API: ServicePolicy(API, (Rule(WEB, 443), Rule(other, 5432)))}
    export = authorization_policies(Policy(1, services, {}, Mode.ENFORCE), Topology(), Names(), egress=True)
    assert sorted(unsaid.why for unsaid in export.unsaid if unsaid.effect is Effect.WIDER and unsaid.service == API) == [
        "port 5432 shows no host and no address is known: every host's is open",
        "shop/batch may call ports 443, because others of its namespace may",
        "shop/web may call ports 5432, because others of its namespace may",
    ]


def test_the_boutiques_sidecars_show_the_hosts_that_people_listed_by_hand() -> None:
    edges = yaml.safe_load((boutique.DATA / "online-boutique-istio-sidecar-egress.yaml").read_text())["edges"]
    by_hand = {(edge["from"], edge["to"]) for edge in edges if "optional" not in edge}
    found = {
        (document["spec"]["workloadSelector"]["labels"]["app"], host.split("/")[1].partition(".")[0])
        for document in documents_of(authorization_policies(boutique.POLICY, boutique.TOPOLOGY, Names(), egress=True))
        if document["kind"] == "Sidecar"
        for host in document["spec"]["egress"][0]["hosts"]
        if not host.startswith("istio-system/")
    }
    assert found == by_hand | {("frontend", "shoppingassistantservice")}
