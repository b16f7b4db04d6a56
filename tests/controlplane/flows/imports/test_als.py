"""Messages of Envoy's access log service: each names its proxy, and peers by what TLS proved."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports.als import MAX_ENTRIES, ServiceLog
from controlplane.flows.imports.model import End, Unused
from tests.controlplane.flows.imports.samples import ALS, flows, opened, records

GATEWAY, CLIENT, SERVER = (json.loads(line) for line in opened(ALS).read().splitlines())


def _read(*found: dict[str, Any]) -> list[Any]:
    return records(ServiceLog(), [json.dumps(message) for message in found])


def test_the_sample_is_three_calls_without_loss() -> None:
    gateway, client, server = _read(GATEWAY, CLIENT, SERVER)
    assert (gateway.source, gateway.destination.host, gateway.port, gateway.path) == (
        End("istio-system", "", "istio-ingressgateway", "istio-ingressgateway", "10.44.2.56"),
        "productpage.default.svc.cluster.local", 9080, "/productpage",
    )  # fmt: skip
    assert (client.source.app, client.destination.host, client.path, client.inbound) == (
        "productpage", "details.default.svc.cluster.local", "/details/0", False,
    )  # fmt: skip
    assert (server.source, server.destination, server.inbound) == (
        End(address="10.44.2.54"),
        End("default", "", "reviews", "reviews-v1", "10.44.2.55", "reviews.default.svc.cluster.local"),
        True,
    )


def test_whom_tls_proved_is_the_source() -> None:
    message = json.loads(json.dumps(SERVER))
    common = message["httpLogs"]["logEntry"][0]["commonProperties"]
    for uri, account in (("spiffe://cluster.local/ns/default/sa/bookinfo-productpage", "bookinfo-productpage"), ("spiffe://x", "")):
        common["tlsProperties"] = {"peerCertificateProperties": {"subjectAltName": [{"uri": uri}]}}
        (found,) = _read(message)
        assert (found.source.account, found.source.address) == (account, "10.44.2.54")


def test_a_stream_names_its_proxy_once() -> None:
    later = {"httpLogs": CLIENT["httpLogs"]}
    assert [flow.source.app for flow in flows(_read(CLIENT, later))] == ["productpage", "productpage"]


def test_connections_are_read_too() -> None:
    (entry,) = CLIENT["httpLogs"]["logEntry"]
    common = {**entry["commonProperties"], "upstreamCluster": "outbound|6379||redis.shop.svc.cluster.local"}
    (found,) = _read({"identifier": CLIENT["identifier"], "tcpLogs": {"logEntry": [{"commonProperties": common}]}})
    assert (found.protocol, found.port, found.destination.host) == ("tcp", 6379, "redis.shop.svc.cluster.local")


def _snake(value: Any) -> Any:
    if isinstance(value, dict):
        return {"".join(f"_{c.lower()}" if c.isupper() else c for c in key): _snake(item) for key, item in value.items()}
    return [_snake(item) for item in value] if isinstance(value, list) else value


def test_protobufs_own_spelling_is_read_as_well() -> None:
    assert _read(*map(_snake, (GATEWAY, CLIENT, SERVER))) == _read(GATEWAY, CLIENT, SERVER)


@pytest.mark.parametrize(
    ("message", "reason"),
    [
        ({}, "a message without entries"),
        ({"httpLogs": {"logEntry": []}}, "a message without entries"),
        ({"httpLogs": {"logEntry": [{}]}}, "not a line of this format"),
        ({"httpLogs": {"logEntry": [{"commonProperties": {}}] * (MAX_ENTRIES + 1)}}, "a message with too many entries"),
        ({"httpLogs": {"logEntry": [{"commonProperties": {}}]}}, "answered by the proxy itself"),
    ],
)
def test_what_is_not_used_says_why(message: dict[str, Any], reason: str) -> None:
    assert _read(message) == [Unused(reason)]


@given(st.binary(max_size=100))
def test_any_line_is_at_least_one_record(line: bytes) -> None:
    assert records(ServiceLog(), [line])
