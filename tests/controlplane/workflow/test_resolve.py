"""What a sidecar saw, as flows: whose edge it is, whether it is learned, and what is never believed."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.rules import Mode, Policy, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.workflow.resolve import Observed, Surroundings, flows_of
from tests.harness.mesh import CART, DB, NOW_MS, TOPOLOGY, TRUST_DOMAIN, WEB

BANK = Service(ServiceName("external", "bank.example"), Kind.EXTERNAL, (Port(443, "https", 443),))
MOVED = Service(ServiceName("shop", "moved"), Kind.SERVICE, (Port(80, "redis", 8080),), ("10.0.0.9",), ("10.1.0.9",))
GIVEN = Surroundings(
    Topology.of((*TOPOLOGY.services.values(), BANK, MOVED)),
    Policy(5, {ServiceName("shop", "cart"): ServicePolicy(ServiceName("shop", "cart"), revision=4)}),
    TRUST_DOMAIN,
    NOW_MS,
)


def flows(reporter: WorkloadId = CART, **changed: Any) -> list[Flow]:
    """The flows of an inbound observation at the cart, with something changed."""
    fields: dict[str, Any] = {
        "inbound": True, "verdict": Verdict.ALLOWED, "port": 7070, "protocol": "grpc", "count": 3, "first_seen_ms": NOW_MS - 9,
        "last_seen_ms": NOW_MS - 5, "peer_id": WEB.uri(TRUST_DOMAIN), "peer_address": "10.0.0.1", "method": "POST",
        "path": "/Cart/Add",
    }  # fmt: skip
    return list(flows_of(Observed(**(fields | changed)), reporter, GIVEN))


OUTBOUND = Observed(False, Verdict.ALLOWED, 3306, "tcp", 3, NOW_MS - 9, NOW_MS - 5, dialled_address="10.0.0.3")


def dialled(reporter: WorkloadId = WEB, **changed: Any) -> list[Flow]:
    """The flows of an outbound observation at the web."""
    outbound: dict[str, Any] = {"inbound": False, "peer_id": "", "peer_address": "", "protocol": "tcp", "method": "", "path": ""}
    return flows(reporter, **(outbound | changed))


def test_an_allowed_call_is_a_use_of_its_edge() -> None:
    """From the identity that the peer proved to the reporter itself."""
    (flow,) = flows()
    assert flow.edge == EdgeKey("shop/web", "shop/cart", 7070, "grpc", "POST", "/Cart/Add")
    assert (flow.verdict, flow.reporter, flow.direction, flow.count) == (Verdict.ALLOWED, "shop/cart", "in", 3)


def test_a_use_has_the_image_that_its_source_runs_where_it_came_from() -> None:
    """By the address for what came in, by the replica that reports for what went out."""
    images = {("shop/web", "10.0.0.1"): "sha256:1", ("shop/web", "web-0"): "sha256:2"}
    given = replace(GIVEN, instance="web-0", image_of=lambda workload, place: images.get((workload, place), ""))
    came = Observed(True, Verdict.ALLOWED, 7070, "grpc", 1, 1, 1, peer_id=WEB.uri(TRUST_DOMAIN), peer_address="10.0.0.1")
    went = replace(OUTBOUND, dialled_address="192.0.2.9")
    assert [flow.image for flow in flows_of(came, CART, given)] == ["sha256:1"]
    assert [flow.image for flow in flows_of(replace(came, peer_address="10.0.0.7"), CART, given)] == [""]
    assert [flow.image for flow in flows_of(went, WEB, given)] == ["sha256:2"]


def test_paths_are_learned_and_told_of_denials() -> None:
    """What is kept of a learned one is its shape (`graph.ledger`)."""
    assert flows(protocol="http", port=9)[0].edge.path == "/Cart/Add"
    assert flows(protocol="http", port=9, verdict=Verdict.DENIED)[0].edge.path == "/Cart/Add"


def test_would_deny_is_a_use_and_a_violation() -> None:
    """It went through, so it is learned; a denied one is not."""
    assert [flow.verdict for flow in flows(verdict=Verdict.WOULD_DENY)] == [Verdict.ALLOWED, Verdict.WOULD_DENY]
    assert [flow.verdict for flow in flows(verdict=Verdict.DENIED)] == [Verdict.DENIED]


@pytest.mark.parametrize("peer_id", ["", "spiffe://other/ns/shop/sa/web", "spiffe://picket.test/web", "shop/web", "ip:10.9.9.9"])
def test_who_proved_nothing_is_an_address(peer_id: str) -> None:
    """An identity of another trust domain or shape is none."""
    assert flows(peer_id=peer_id)[0].edge.source == "ip:10.0.0.1"


def test_the_endpoints_port_is_the_services() -> None:
    """Edges are written as clients dial them, with the declared protocol where the wire shows bytes."""
    (inbound,) = flows(WorkloadId("shop", "moved"), port=8080, protocol="tcp", method="", path="")
    assert (inbound.edge.port, inbound.edge.protocol) == (80, "redis")
    (refused,) = dialled(dialled_address="10.1.0.9", port=8080, verdict=Verdict.DENIED)
    assert refused.edge == EdgeKey("shop/web", "shop/moved", 80, "redis")


def test_a_call_to_a_meshed_service_is_learned_at_its_end_only() -> None:
    """Both ends report it; counting both would count it twice. A refusal at the source is told all the same."""
    assert dialled(dialled_address="10.0.0.3", port=3306) == []
    (denied,) = dialled(dialled_address="10.0.0.3", port=3306, verdict=Verdict.DENIED)
    assert denied.edge == EdgeKey("shop/web", str(DB), 3306, "mysql")


@pytest.mark.parametrize(
    ("changed", "destination"),
    [
        ({"server_name": "Bank.Example."}, "external/bank.example"),
        ({"server_name": "other.example"}, "external/other.example"),
        ({"host": "other.example:8443"}, "external/other.example"),
        ({"server_name": "sni.example", "host": "authority.example"}, "external/sni.example"),
        ({"server_name": "*.example"}, "external/203.0.113.7"),
        ({"host": "198.51.100.1:80"}, "external/203.0.113.7"),
        ({"host": "[::1]:80"}, "external/203.0.113.7"),
        ({}, "external/203.0.113.7"),
    ],
)
def test_a_host_outside_is_named_by_what_was_asked_for(changed: dict[str, Any], destination: str) -> None:
    """By SNI, else by authority, else by the address; what names no single host names none."""
    (flow,) = dialled(dialled_address="203.0.113.7", port=443, **changed)
    assert flow.edge.destination == destination
    assert flow.edge.source == "shop/web"


def test_a_mesh_address_is_not_renamed_by_a_host() -> None:
    """Where a service was dialled, a host header makes no other destination of it."""
    (flow,) = dialled(dialled_address="10.0.0.3", port=3306, server_name="bank.example", verdict=Verdict.DENIED)
    assert flow.edge.destination == "shop/db"


def test_nothing_was_seen_in_the_future() -> None:
    """Another clock's error does not make an edge fresh for ever."""
    (flow,) = flows(first_seen_ms=NOW_MS + 5, last_seen_ms=NOW_MS + 9)
    assert (flow.first_seen_ms, flow.last_seen_ms) == (NOW_MS, NOW_MS)


def test_a_denied_handshake_is_named_by_its_policy() -> None:
    """No filter ran that could name it; a name that Envoy gave stays, and other failures of TLS have none."""
    handshake: dict[str, Any] = {"verdict": Verdict.DENIED, "reason": "verify SAN list"}
    assert flows(**handshake)[0].deny_id == "deny:shop/cart@r4"
    assert flows(**handshake, deny_id="deny:shop/cart@r2")[0].deny_id == "deny:shop/cart@r2"
    assert flows(verdict=Verdict.DENIED, reason="expired")[0].deny_id == ""


@pytest.mark.parametrize("reason", ["route_not_found", "absolute_path_rejected", "upgrade_failed"])
@pytest.mark.parametrize(
    ("mode", "inbound", "outbound"),
    [
        (Mode.ENFORCE, "deny:shop/cart@r4", "deny:shop/web@r3/egress"),
        (Mode.QUARANTINE, "deny:shop/cart@r4/quarantine", "deny:shop/web@r3/quarantine"),
        (Mode.AUDIT, "", ""),
        (Mode.LEARN, "", ""),
    ],
)
def test_what_envoy_never_passes_on_is_named_by_the_policy_where_one_is_enforced(
    mode: Mode, inbound: str, outbound: str, reason: str
) -> None:
    cart, web = ServiceName("shop", "cart"), ServiceName("shop", "web")
    services = {cart: ServicePolicy(cart, (), 4), web: ServicePolicy(web, (), 2, 3)}
    given = replace(GIVEN, policy=Policy(5, services, {cart: mode, web: mode}))
    called = replace(OUTBOUND, inbound=True, peer_id=WEB.uri(TRUST_DOMAIN), port=7070)
    for observed, reporter, name in ((called, CART, inbound), (OUTBOUND, WEB, outbound)):
        (flow,) = flows_of(replace(observed, verdict=Verdict.DENIED, reason=reason), reporter, given)
        assert (flow.deny_id, flow.reason) == (name, reason)


def test_a_call_whose_upstream_was_taken_away_is_named_by_what_its_source_may_reach() -> None:
    """Envoy kept the old chain of the open connection, which names nothing."""
    web = ServiceName("shop", "web")
    taken: dict[str, Any] = {"verdict": Verdict.DENIED, "reason": "cluster_not_found", "dialled_address": "10.0.0.3", "port": 3306}
    assert [dialled(**taken)[0].deny_id, flows(**taken)[0].deny_id] == ["deny:shop/web@r0/egress", ""]
    for mode, name in ((Mode.ENFORCE, "deny:shop/web@r4/egress"), (Mode.QUARANTINE, "deny:shop/web@r4/quarantine")):
        policy = Policy(5, {web: ServicePolicy(web, egress_revision=4)}, {web: mode})
        given = replace(GIVEN, policy=policy)
        (flow,) = flows_of(replace(OUTBOUND, verdict=Verdict.DENIED, reason="cluster_not_found"), WEB, given)
        assert (flow.deny_id, flow.edge.destination) == (name, "shop/db")


@given(
    st.builds(
        Observed, st.booleans(), st.sampled_from(Verdict), st.integers(1, 65_535), st.sampled_from(["tcp", "http", "grpc", "tls"]),
        st.integers(0, 100), st.integers(1, 2 * NOW_MS), st.integers(1, 2 * NOW_MS), st.text(max_size=40), st.text(max_size=20),
        st.text(max_size=20), st.text(max_size=8), st.text(max_size=20), st.text(max_size=40), st.text(max_size=40),
    )
)  # fmt: skip
def test_no_words_of_an_observation_make_it_anothers(observed: Observed) -> None:
    """One end of each flow is the reporter, whatever the observation says."""
    for flow in flows_of(observed, CART, GIVEN):
        assert (flow.edge.destination if observed.inbound else flow.edge.source) == "shop/cart"
        assert flow.reporter == "shop/cart"
        assert flow.last_seen_ms <= NOW_MS
