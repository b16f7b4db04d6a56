"""What is injected and what the sidecar understands are the same: neither package imports the other, so it is held here."""

from __future__ import annotations

from controlplane.kubernetes.injection import containers
from sidecar import capture, init, settings
from tests.controlplane.kubernetes.injection.reviews import container, creation, patched


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
    assert {capture.OUTBOUND_PORT, capture.INBOUND_PORT, *settings.OWN_PORTS} == containers.OWN_PORTS
    assert (containers.HEALTH_PORT, containers.METRICS_PORT) == (settings.HEALTH_PORT, settings.METRICS_PORT)
