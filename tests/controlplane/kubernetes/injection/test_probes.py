"""Kubelet's probes: which go to the agent, and what the agent is told to ask."""

from __future__ import annotations

import json

from controlplane.kubernetes.injection import probes
from tests.controlplane.kubernetes.injection.reviews import container, creation, patched, variables


def recorded(name: str) -> dict[str, object]:
    """What the agent of a patched pod has to ask."""
    found: dict[str, object] = json.loads(variables(patched(creation(name)))[probes.VARIABLE])
    return found


def test_http_probes_go_to_the_agent_with_their_headers() -> None:
    """A named port becomes its number; times and thresholds stay kubelet's."""
    pod = patched(creation("deployment-http"))
    assert container(pod, "server")["livenessProbe"] == {
        "httpGet": {"path": "/app-health/server/livez", "port": 15020, "scheme": "HTTP"},
        "failureThreshold": 3, "periodSeconds": 10, "successThreshold": 1, "timeoutSeconds": 1,
    }  # fmt: skip
    ask = {"path": "/healthz", "port": 8080, "scheme": "HTTP"}
    cookie = {"name": "Cookie", "value": "shop_session-id=x-readiness-probe"}
    assert recorded("deployment-http") == {
        "/app-health/server/livez": {"httpGet": ask, "timeoutSeconds": 1},
        "/app-health/server/readyz": {"httpGet": {**ask, "path": "/ready", "httpHeaders": [cookie]}, "timeoutSeconds": 1},
        "/app-health/server/startupz": {"httpGet": ask, "timeoutSeconds": 1},
    }


def test_grpc_probes_become_http_ones_of_the_agent() -> None:
    """A probe has one handler: the old one goes."""
    pod = patched(creation("deployment-grpc"))
    assert "grpc" not in container(pod, "server")["readinessProbe"]
    assert recorded("deployment-grpc") == {
        "/app-health/server/livez": {"grpc": {"port": 7070}, "timeoutSeconds": 1},
        "/app-health/server/readyz": {"grpc": {"port": 7070, "service": "hipstershop.CartService"}, "timeoutSeconds": 1},
    }


def test_tcp_probes_too() -> None:
    """Envoy would take the connection also where nobody listens behind it."""
    assert recorded("statefulset-tcp") == {"/app-health/postgres/readyz": {"tcpSocket": {"port": 5432}, "timeoutSeconds": 1}}


def test_first_steps_that_stay_have_probes_too() -> None:
    """Native sidecars of the application's own."""
    assert recorded("pod-with-first-steps") == {
        "/app-health/cache/startupz": {"tcpSocket": {"port": 6379}, "timeoutSeconds": 1},
        "/app-health/main/livez": {"httpGet": {"path": "/live", "port": 8443, "scheme": "HTTPS"}, "timeoutSeconds": 1},
    }


def test_exec_probes_and_those_of_other_hosts_stay() -> None:
    """They do not come in through Envoy."""
    for name in ("deployment-exec", "deployment-foreign-probe"):
        asked = creation(name)
        pod = patched(asked)
        assert pod["spec"]["containers"] == asked.pod["spec"]["containers"]
        assert probes.VARIABLE not in variables(pod)


def test_a_port_name_that_nobody_declared_stays_kubelets() -> None:
    """Kubelet says what is wrong with it."""
    asked = creation("deployment-http")
    del asked.pod["spec"]["containers"][0]["ports"]
    assert "/app-health/server/livez" not in json.loads(variables(patched(asked))[probes.VARIABLE])


def test_a_record_of_others_is_not_believed() -> None:
    """Only what is a probe of the pod's own ports is taken from it."""
    record = {
        "/a": {"httpGet": {"host": "192.0.2.1", "port": 80}}, "/b": {"exec": {"command": ["id"]}}, "/c": 1,
        "/d": {"tcpSocket": {"port": 1}},
    }  # fmt: skip
    assert probes.read_record(json.dumps(record)) == {"/d": {"tcpSocket": {"port": 1}, "timeoutSeconds": 1}}
    for text in (None, 1, "[", "[]", "{" * 100_000, "x" * (probes.MAX_RECORD_BYTES + 1)):
        assert probes.read_record(text) == {}
