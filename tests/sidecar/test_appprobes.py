"""Declared probes: Kubernetes' own shape is read, and nothing in it can lead anywhere but to the application."""

from __future__ import annotations

import contextlib
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar.appprobes import Grpc, Header, HttpGet, Probe, TcpSocket, read_probes
from sidecar.join import SettingsError
from sidecar.ports import OWN_PORTS

READY = "/app-health/web/readyz"
STOP = f"/app-lifecycle/web/prestop/{'0a' * 16}"


def test_probes_are_read_as_kubernetes_writes_them() -> None:
    read = read_probes(
        json.dumps(
            {
                READY: {
                    "httpGet": {
                        "path": "/ok?x=1",
                        "port": 8080,
                        "scheme": "HTTPS",
                        "httpHeaders": [{"name": "Host", "value": "web"}],
                    }
                },
                "/app-health/web/livez": {"tcpSocket": {"port": 6379}, "timeoutSeconds": 3},
                "/app-health/db/startupz": {"grpc": {"port": 9000, "service": None}},
            }
        )
    )
    assert read == {
        READY: Probe(http_get=HttpGet(8080, "/ok?x=1", "HTTPS", "", (Header("Host", "web"),))),
        "/app-health/web/livez": Probe(tcp_socket=TcpSocket(6379), timeout_seconds=3),
        "/app-health/db/startupz": Probe(grpc=Grpc(9000, None)),
    }
    assert [probe.needs_tls for probe in read.values()] == [True, False, False]
    assert read_probes(json.dumps({STOP: {"httpGet": {"port": 80}}})) == {STOP: Probe(http_get=HttpGet(80))}
    assert read_probes("") == {}


def one(**probe: object) -> str:
    return json.dumps({READY: probe})


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("[]", "--app-probes"),
        ("{", "--app-probes"),
        (json.dumps({"/etc/passwd": {"tcpSocket": {"port": 1}}}), "/app-health/CONTAINER/"),
        (json.dumps({READY + "/x": {"tcpSocket": {"port": 1}}}), "/app-health/CONTAINER/"),
        (json.dumps({STOP[:-1]: {"httpGet": {"port": 1}}}), "or a hook's path"),
        (json.dumps({STOP: {"tcpSocket": {"port": 1}}}), "httpGet is wanted"),
        (one(), "one of httpGet"),
        (one(tcpSocket={"port": 1}, grpc={"port": 2}), "one of httpGet"),
        (one(exec={"command": ["true"]}), "exec"),
        (one(tcpSocket={"port": "http"}), "port"),
        (one(tcpSocket={"port": 0}), "not a port of the application"),
        (one(tcpSocket={"port": 1, "host": "169.254.169.254"}), "only the pod itself"),
        (one(httpGet={"port": 1, "host": "elsewhere"}), "only the pod itself"),
        (one(httpGet={"port": 1, "scheme": "ftp"}), "scheme"),
        (one(httpGet={"port": 1, "path": "/a b"}), "path"),
        (one(httpGet={"port": 1, "path": "/\r\nX: 1"}), "path"),
        (one(httpGet={"port": 1, "httpHeaders": [{"name": "X", "value": "a\r\nY: b"}]}), "httpHeaders"),
        (one(httpGet={"port": 1, "httpHeaders": [{"name": "X Y", "value": ""}]}), "httpHeaders"),
        (one(httpGet={"port": 1, "httpHeaders": [{"name": "X"}] * 33}), "more than 32"),
        (one(tcpSocket={"port": 1}, timeoutSeconds=0), "timeoutSeconds"),
        (json.dumps({f"/app-health/c{n}/livez": {"tcpSocket": {"port": 1}} for n in range(257)}), "more than 256"),
        (" " * 270_000, "larger than"),
        *((one(tcpSocket={"port": port}), "not a port of the application") for port in OWN_PORTS),
    ],
)
def test_what_is_no_probe_of_this_pod_is_told(text: str, told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        read_probes(text)


@given(st.recursive(st.none() | st.integers() | st.text(), lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner)))
def test_any_json_is_read_or_told(document: object) -> None:
    with contextlib.suppress(SettingsError):
        read_probes(json.dumps(document))
