"""Istio's text log: both ends of a line are read, whatever a client wrote between them."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports.envoy_text import TextLog
from controlplane.flows.imports.model import End, Imported, Unused
from controlplane.flows.model import Verdict
from tests.controlplane.flows.imports.samples import TEXT, flows, opened, reasons, records

CLIENT, SERVER = opened(TEXT).read().splitlines()


def _one(line: bytes | str, reporter: End | None = None) -> Imported | Unused:
    (found,) = records(TextLog(reporter), [line])
    assert isinstance(found, (Imported, Unused))
    return found


def test_the_client_s_side_names_the_service_and_the_server_s_side_who_called() -> None:
    client, server = _one(CLIENT), _one(SERVER)
    assert client == Imported(
        source=End(address="10.44.1.23"),
        destination=End(address="10.44.1.27", host="httpbin.foo.svc.cluster.local"),
        port=8000, protocol="http", verdict=Verdict.ALLOWED, inbound=False, at_ms=1606339578409, method="GET", path="/status/418",
    )  # fmt: skip
    assert server == Imported(
        source=End(address="10.44.1.23"),
        destination=End(address="10.44.1.27", host="httpbin.foo.svc.cluster.local"),
        port=8000, protocol="http", verdict=Verdict.ALLOWED, inbound=True, at_ms=1606339578409, method="GET", path="/status/418",
    )  # fmt: skip


def test_the_sample_is_one_call_told_twice() -> None:
    for lines in ([CLIENT, SERVER], [SERVER, CLIENT]):
        found = records(TextLog(), lines)
        assert (len(flows(found)), reasons(found)) == (1, Counter({"the other side of a call that is counted": 1}))


def test_whose_log_it_is_names_the_end_that_the_line_does_not() -> None:
    sleep = End(namespace="foo", account="sleep")
    client = _one(CLIENT, sleep)
    assert isinstance(client, Imported)
    assert client.source == sleep
    server = _one(SERVER.replace(b"outbound_.8000_._.httpbin.foo.svc.cluster.local", b"-"), End(namespace="foo", app="httpbin"))
    assert isinstance(server, Imported)
    assert (server.destination, server.port) == (End(namespace="foo", app="httpbin", address="10.44.1.27"), 8000)


ENVOYS_OWN = '[2026-01-02T03:04:05.678Z] "GET / HTTP/1.1" 200 - 0 0 1 1 "-" "ua" "id" "host" "10.0.0.1:80"'


def _line(**fields: str) -> str:
    given = {
        "method": "GET", "path": "/x", "version": "HTTP/1.1", "details": "via_upstream", "ended": "-", "cluster": "-",
        "upstream": "-", "local": "10.0.0.9:443", "remote": "10.0.0.1:40000", "name": "-", "authority": "-", "request": "-",
        **fields,
    }  # fmt: skip
    return (
        '[2026-01-02T03:04:05.678Z] "{method} {path} {version}" 0 - {details} {ended} "-" 0 0 0 - "-" "-" "{request}" '
        '"{authority}" "{upstream}" {cluster} - {local} {remote} {name} default'
    ).format(**given)


def test_a_denial_of_a_request_and_of_a_connection() -> None:
    request = _one(_line(details="rbac_access_denied_matched_policy[none]", name="outbound_.80_._.cart.shop.svc.cluster.local"))
    assert isinstance(request, Imported)
    assert (request.verdict, request.inbound, request.port, request.destination.host) == (
        Verdict.DENIED, True, 80, "cart.shop.svc.cluster.local",
    )  # fmt: skip
    tcp = {"method": "-", "path": "-", "version": "-", "details": "-"}
    denied = {"ended": "rbac_access_denied_matched_policy[none]", "cluster": "inbound|6379||", "local": "10.0.0.9:6379"}
    connection = _one(_line(**tcp, **denied))
    assert isinstance(connection, Imported)
    assert (connection.verdict, connection.protocol, connection.port) == (Verdict.DENIED, "tcp", 6379)


@pytest.mark.parametrize(("cluster", "verdict"), [("PassthroughCluster", Verdict.ALLOWED), ("BlackHoleCluster", Verdict.DENIED)])
def test_what_goes_to_no_known_service_goes_to_the_host_that_was_asked_for(cluster: str, verdict: Verdict) -> None:
    tls = _one(_line(method="-", path="-", version="-", cluster=cluster, name="API.example.com"))
    assert isinstance(tls, Imported)
    assert (tls.verdict, tls.destination, tls.port, tls.protocol) == (
        verdict, End(address="10.0.0.9", host="api.example.com"), 443, "tls",
    )  # fmt: skip
    http = _one(_line(cluster=cluster, authority="api.example.com:80"))
    assert isinstance(http, Imported)
    assert (http.destination.host, http.protocol) == ("api.example.com", "http")


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("", "not a line of this format"),
        ("2026 hello", "not a line of this format"),
        (ENVOYS_OWN, "a format without clusters and addresses"),
        (_line(), "answered by the proxy itself"),
        (_line(cluster="outbound|x||y"), "a cluster of another form"),
        (_line(cluster="own"), "no upstream address"),
        (_line(cluster="inbound|80||").replace("2026-01-02T03:04:05.678Z", "yesterday"), "no time"),
    ],
)  # fmt: skip
def test_what_is_not_used_says_why(line: str, reason: str) -> None:
    assert _one(line) == Unused(reason)


def test_a_cluster_of_ones_own_naming_is_the_host_that_was_asked_for() -> None:
    found = _one(_line(cluster="backend", upstream="10.0.0.7:8080", authority="cart.shop:80"))
    assert isinstance(found, Imported)
    assert (found.destination, found.port) == (End(address="10.0.0.7", host="cart.shop"), 8080)


@given(st.text(st.characters(min_codepoint=32, max_codepoint=126), max_size=80))
def test_what_a_client_calls_itself_never_changes_who_called_whom(agent: str) -> None:
    """A user agent may hold quotes, and whole lines."""
    honest = _one(CLIENT)
    forged = _one(CLIENT.decode().replace('"curl/7.73.0-DEV"', f'"{agent}"'))
    assert forged == honest


@given(st.binary(max_size=200))
def test_any_line_is_one_record(line: bytes) -> None:
    assert len(records(TextLog(), [line])) == 1
