"""Hubble's flows: each request and each connection once, everything else with its reason."""

from __future__ import annotations

import json
from collections import Counter
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports.hubble import HubbleLog
from controlplane.flows.imports.model import End, Imported, Lost, Unused
from controlplane.flows.model import Verdict
from tests.controlplane.flows.imports.samples import HUBBLE, flows, lost, opened, reasons, records

WEB = {
    "namespace": "shop", "pod_name": "web-6b746f7d9c-x7k2p", "workloads": [{"name": "web", "kind": "Deployment"}],
    "labels": ["k8s:app=web", "k8s:io.cilium.k8s.policy.serviceaccount=web-account", "k8s:io.kubernetes.pod.namespace=shop"],
}  # fmt: skip
CART = {"namespace": "shop", "pod_name": "cart-0", "labels": ["k8s:app.kubernetes.io/name=cart"]}


def _flow(**changes: Any) -> dict[str, Any]:
    return {
        "time": "2026-01-02T03:04:05.678901234Z", "verdict": "FORWARDED", "IP": {"source": "10.0.0.1", "destination": "10.0.0.2"},
        "l4": {"TCP": {"source_port": 40000, "destination_port": 6379, "flags": {"SYN": True}}}, "Type": "L3_L4",
        "source": WEB, "destination": CART, "traffic_direction": "INGRESS", "is_reply": False, **changes,
    }  # fmt: skip


def _http(method: str = "GET", url: str = "http://cart:80/x?y=1", version: str = "HTTP/1.1", **changes: Any) -> dict[str, Any]:
    http = {"method": method, "url": url, "protocol": version, "headers": [{"key": "X-Request-Id", "value": "r1"}]}
    return _flow(Type="L7", l7={"type": "REQUEST", "http": http}, **changes)


def _read(*found: dict[str, Any], wrapped: bool = True) -> list[Any]:
    return records(HubbleLog(), [json.dumps({"flow": flow} if wrapped else flow) for flow in found])


def test_the_sample_is_read_without_loss() -> None:
    """348 lines: 175 requests and 173 responses, as its README counts them."""
    found = records(HubbleLog(), opened(HUBBLE).read().splitlines())
    assert (len(found), len(flows(found)), reasons(found)) == (348, 175, Counter({"a reply": 173}))
    shop = Counter(
        (flow.source.account, flow.destination.workload, flow.destination.host, flow.port, flow.method, flow.path)
        for flow in flows(found)
        if flow.source.namespace == "bookinfo"
    )
    assert shop == {
        ("bookinfo-ratings", "productpage-v1", "productpage", 9080, "GET", "/productpage"): 35,
        ("bookinfo-productpage", "reviews-v1", "reviews", 9080, "GET", "/reviews/0"): 1,
    }
    assert Counter(flow.port for flow in flows(found)) == {
        9990: 40, 9253: 39, 9080: 36, 10054: 20, 8888: 20, 14269: 10, 6942: 10,
    }  # fmt: skip


def test_a_connection_names_both_ends() -> None:
    (found,) = _read(_flow())
    assert found == Imported(
        source=End("shop", "web-account", "web", "web", "10.0.0.1"),
        destination=End("shop", "", "cart", "cart", "10.0.0.2"),
        port=6379,
        protocol="tcp",
        verdict=Verdict.ALLOWED,
        inbound=True,
        at_ms=1767323045678,
    )


def test_a_request_has_its_method_path_without_query_and_the_host_that_was_called() -> None:
    (found,) = _read(_http(), wrapped=False)
    assert (found.protocol, found.method, found.path, found.destination.host, found.port) == ("http", "GET", "/x", "cart", 6379)
    (grpc,) = _read(_http("POST", "http://cart/shop.Cart/Get", "HTTP/2"))
    assert (grpc.protocol, grpc.path) == ("grpc", "/shop.Cart/Get")
    (named,) = _read(_http(destination_service={"name": "basket", "namespace": "store"}))
    assert named.destination.host == "basket.store.svc"
    (world,) = _read(_flow(destination={"labels": ["reserved:world"]}, destination_names=["api.example.com."]))
    assert world.destination == End(address="10.0.0.2", host="api.example.com")


@pytest.mark.parametrize(
    ("changes", "verdict", "reason"),
    [
        ({"verdict": "DROPPED", "drop_reason_desc": "POLICY_DENIED"}, Verdict.DENIED, "POLICY_DENIED"),
        ({"verdict": "AUDIT"}, Verdict.WOULD_DENY, ""),
    ],
)
def test_what_a_policy_refused_is_denied(changes: dict[str, Any], verdict: Verdict, reason: str) -> None:
    (found,) = _read(_flow(**changes))
    assert (found.verdict, found.reason) == (verdict, reason)


@pytest.mark.parametrize(
    ("flow", "reason"),
    [
        (_flow(is_reply=True), "a reply"),
        (_flow(reply=True, is_reply=None), "a reply"),
        (_flow(verdict="TRANSLATED"), "a step on the way, without a verdict"),
        (_flow(verdict="REDIRECTED"), "a step on the way, without a verdict"),
        (_flow(verdict="DROPPED", drop_reason_desc="INVALID_SOURCE_IP"), "dropped for another reason than a policy"),
        (_flow(l4={"UDP": {"destination_port": 53}}), "not TCP"),
        (_flow(l4=None), "not TCP"),
        (_flow(l4={"TCP": {"destination_port": 80, "flags": {"ACK": True}}}), "not the beginning of a connection"),
        (_flow(l4={"TCP": {"destination_port": 80, "flags": {"SYN": True, "ACK": True}}}), "not the beginning of a connection"),
        (_flow(l4={"TCP": {"flags": {"SYN": True}}}), "no port"),
        (_flow(time=""), "no time"),
        (_flow(IP=None, destination={}), "an end is not told"),
        (_flow(Type="L7", l7={"type": "REQUEST", "dns": {"query": "x"}}), "a DNS query"),
        (_flow(Type="L7", l7={"type": "REQUEST"}), "a protocol that is not read"),
        (_http(url="http://[::1/x"), "no address that can be read"),
        (_http(method="G" * 65), "a path, method or protocol that is too long"),
        (_http(url="http://cart/é"), "a name with characters that names do not have"),
    ],
)
def test_what_is_not_used_says_why(flow: dict[str, Any], reason: str) -> None:
    assert _read(flow) == [Unused(reason)]


def test_a_kafka_request_is_a_flow() -> None:
    (found,) = _read(_flow(Type="L7", l7={"type": "REQUEST", "kafka": {"topic": "t"}}))
    assert (found.protocol, found.method) == ("kafka", "")


def test_the_same_connection_at_another_point_counts_once() -> None:
    found = _read(_flow(), _flow(traffic_direction="EGRESS"), _flow(time="2026-01-02T03:04:06Z"))
    assert (len(flows(found)), reasons(found)) == (1, Counter({"a connection that is counted": 2}))


def test_a_request_that_both_ends_tell_counts_once_and_two_requests_twice() -> None:
    both = _read(_http(), _http(traffic_direction="EGRESS"))
    assert (len(flows(both)), reasons(both)) == (1, Counter({"the other side of a call that is counted": 1}))
    assert len(flows(_read(_http(), _http()))) == 2


def test_lost_events_are_counted_and_other_events_named() -> None:
    lost_events = ['{"lost_events": {"num_events_lost": "24"}}', '{"lost_events": {}}']
    found = records(HubbleLog(), [*lost_events, '{"node_status": {"state": "OK"}}', '{"debug_event": {}}'])
    assert (lost(found), found[0], reasons(found)) == (25, Lost(24), Counter({"an event that is no flow": 2}))


@given(st.binary(max_size=200) | st.text(max_size=100).map(str.encode))
def test_any_line_is_one_record(line: bytes) -> None:
    assert len(records(HubbleLog(), [line])) == 1


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda below: st.lists(below, max_size=3) | st.dictionaries(st.sampled_from([*_flow(), "flow", "http", "url", "TCP"]), below),
    max_leaves=15,
)


@given(st.dictionaries(st.sampled_from(["flow", *_flow(), "l7", "lost_events"]), JSON))
def test_any_document_is_one_record(document: dict[str, Any]) -> None:
    assert len(records(HubbleLog(), [json.dumps(document)])) == 1
