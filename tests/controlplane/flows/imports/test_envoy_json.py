"""Istio's and Envoy Gateway's JSON logs."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports.envoy_json import JsonLog
from controlplane.flows.imports.model import End, Imported, Unused
from controlplane.flows.model import Verdict
from tests.controlplane.flows.imports.samples import flows, records

CLIENT = {
    "start_time": "2026-01-02T03:04:05.678Z", "method": "GET", "path": "/headers?x=1", "protocol": "HTTP/1.1", "response_code": 200,
    "upstream_cluster": "outbound|8000||httpbin.foo.svc.cluster.local", "upstream_host": "10.10.241.82:80", "request_id": "r1",
    "downstream_local_address": "10.97.94.170:8000", "downstream_remote_address": "10.10.241.84:58514", "authority": "httpbin:8000",
    "requested_server_name": None, "response_code_details": "via_upstream", "duration": "12",
}  # fmt: skip
SERVER = {
    **CLIENT, "upstream_cluster": "inbound|80||", "downstream_local_address": "10.10.241.82:80",
    "requested_server_name": "outbound_.8000_._.httpbin.foo.svc.cluster.local",
}  # fmt: skip


def _read(*found: dict[str, Any]) -> list[Any]:
    return records(JsonLog(), [json.dumps(line) for line in found])


def test_both_sides_of_a_call_are_one_flow() -> None:
    for lines in ((CLIENT, SERVER), (SERVER, CLIENT)):
        (found,) = flows(_read(*lines))
        assert (found.source.address, found.destination.host, found.port, found.method, found.path) == (
            "10.10.241.84", "httpbin.foo.svc.cluster.local", 8000, "GET", "/headers",
        )  # fmt: skip


def test_a_second_call_of_the_same_request_counts_again() -> None:
    assert len(flows(_read(CLIENT, SERVER, CLIENT, SERVER))) == 2
    assert len(flows(_read(CLIENT, CLIENT, SERVER, SERVER))) == 2


def test_calls_without_an_id_cannot_be_paired_and_all_count() -> None:
    assert len(flows(_read({**CLIENT, "request_id": "-"}, {**SERVER, "request_id": None}))) == 2


def test_grpc_is_known_by_its_form() -> None:
    (found,) = _read({**CLIENT, "method": "POST", "path": "/shop.Cart/Get", "protocol": "HTTP/2"})
    assert found.protocol == "grpc"


def test_a_connection_that_was_denied() -> None:
    fields = {"method": None, "path": None, "protocol": None, "response_code_details": None}
    (found,) = _read({**SERVER, **fields, "connection_termination_details": "rbac_access_denied_matched_policy[none]"})
    assert (found.verdict, found.protocol, found.port) == (Verdict.DENIED, "tcp", 8000)


def test_the_fields_of_envoy_gateway() -> None:
    line = {
        "start_time": "2026-01-02T03:04:05.678Z", "method": "GET", "x-envoy-origin-path": "/a", ":authority": "shop.example.com",
        "x-request-id": "r1", "upstream_cluster": "httproute/shop/cart/rule/0", "upstream_host": "10.0.0.7:8080",
        "downstream_remote_address": "192.0.2.1:50000", "downstream_local_address": "10.0.0.3:10080", "protocol": "HTTP/1.1",
    }  # fmt: skip
    (found,) = _read(line)
    assert found == Imported(
        End(address="192.0.2.1"), End(address="10.0.0.7", host="shop.example.com"), 8080, "http", Verdict.ALLOWED,
        inbound=False, at_ms=1767323045678, method="GET", path="/a",
    )  # fmt: skip


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("[]", "not a line of this format"),
        ('{"start_time": 5}', "not a line of this format"),
        ("{}", "no time"),
        ('{"start_time": "2026-01-02T03:04:05Z"}', "a format without clusters and addresses"),
        (json.dumps({**CLIENT, "upstream_cluster": None}), "answered by the proxy itself"),
        (json.dumps({**CLIENT, "start_time": "2026-01-02T03:04:05"}), "no time"),
    ],
)
def test_what_is_not_used_says_why(line: str, reason: str) -> None:
    assert records(JsonLog(), [line]) == [Unused(reason)]


VALUES = st.none() | st.text(max_size=30) | st.sampled_from(sorted(map(str, SERVER.values())))


@given(st.dictionaries(st.sampled_from(sorted(CLIENT)), VALUES))
def test_any_document_is_one_record(line: dict[str, Any]) -> None:
    assert len(_read({**CLIENT, **line})) == 1


@given(st.binary(max_size=100))
def test_any_line_is_one_record(line: bytes) -> None:
    assert len(records(JsonLog(), [line])) == 1
