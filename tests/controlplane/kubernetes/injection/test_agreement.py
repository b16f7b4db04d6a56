"""What is injected and what the sidecar understands are the same: neither package imports the other, so it is held here."""

from __future__ import annotations

from controlplane.kubernetes.injection import containers, probes
from sidecar import health, init, ports, settings
from sidecar.options import ENVIRONMENT_PREFIX
from sidecar.probes import read_probes
from tests.controlplane.kubernetes.injection.reviews import container, creation, patched, variables


def test_the_step_is_told_what_it_understands() -> None:
    """Its options are the sidecar program's own."""
    arguments = container(patched(creation("pod-exclusions")), "picket-init")["args"]
    assert arguments[0] == "init"
    asked = init.parse(arguments[1:], {})
    assert asked.uid == settings.PROXY_ID
    assert {9100, 9200} <= set(asked.excluded.inbound_ports)
    assert asked.excluded.outbound_ports == (123,)
    assert [str(network) for network in asked.excluded.outbound_networks] == ["192.0.2.0/24", "2001:db8::/32"]


def test_user_and_ports_are_the_sidecars() -> None:
    """A pod must not take them."""
    assert containers.PROXY_ID == settings.PROXY_ID
    assert set(ports.OWN_PORTS) == containers.OWN_PORTS
    assert (containers.HEALTH_PORT, containers.METRICS_PORT) == (ports.HEALTH_PORT, ports.METRICS_PORT)


def test_the_sidecar_is_asked_what_it_answers() -> None:
    """By kubelet for its own health, and by its environment for the application's."""
    assert containers.READY_PATH == health.READY_PATH
    assert probes.AGENT_PORT == ports.PROBE_PORT
    assert probes.VARIABLE == ENVIRONMENT_PREFIX + "APP_PROBES"
    for name in ("deployment-http", "deployment-grpc", "statefulset-tcp"):
        assert read_probes(variables(patched(creation(name)))[probes.VARIABLE])
