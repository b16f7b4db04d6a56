"""The redirect, proved with real packets in namespaces: what comes to Envoy, what goes past it, what is refused."""

from __future__ import annotations

import socket
import subprocess
from collections.abc import Callable, Iterator

import pytest

from sidecar.capture import INWARD_SOURCE, CaptureError, Exclusions, Redirect, rules
from sidecar.ports import INBOUND_PORT, OUTBOUND_PORT
from sidecar.settings import PROXY_ID
from tests.harness.namespaces import Namespace, missing, two_namespaces
from tests.sidecar.dialling import APPLICATION, Greeters, Wire, dial

EXCLUDED_PORT = 9100
SERVED_PORT = 8080
in_namespaces = pytest.mark.skipif(bool(missing()), reason=missing() or "can run")


@pytest.fixture
def wire() -> Iterator[Wire]:
    with two_namespaces() as (here, there):
        greeters = Greeters()
        greeters.serve(here, SERVED_PORT, "application")
        for port in (80, EXCLUDED_PORT, INBOUND_PORT):
            greeters.serve(there, port, "peer")
        apply(here, rules(Exclusions(outbound_ports=(EXCLUDED_PORT,))))
        with greeters.running():
            yield Wire(here, there, greeters)


def apply(space: Namespace, script: str) -> None:
    space.run(lambda: subprocess.run(["nft", "-f", "-"], input=script, text=True, check=True))


def with_envoy(wire: Wire) -> None:
    wire.greeters.serve(wire.here, OUTBOUND_PORT, "outbound")
    wire.greeters.serve(wire.here, INBOUND_PORT, "inbound")


FAMILIES = pytest.mark.parametrize("address_of", [lambda space: space.ipv4, lambda space: space.ipv6], ids=["ipv4", "ipv6"])
Address = Callable[[Namespace], str]


@in_namespaces
@FAMILIES
def test_what_the_application_dials_comes_to_envoy_with_whom_it_dialled(wire: Wire, address_of: Address) -> None:
    with_envoy(wire)
    peer = address_of(wire.there)
    assert dial(wire.here, peer, 80) == f"outbound {peer}:80"
    assert dial(wire.here, peer, INBOUND_PORT) == f"outbound {peer}:{INBOUND_PORT}"  # a port of somebody else
    assert dial(wire.here, peer, 9) == f"outbound {peer}:9"
    assert dial(wire.here, peer, 80, uid=0, gid=0) == f"outbound {peer}:80"


@in_namespaces
@FAMILIES
def test_what_a_peer_dials_comes_to_envoy_whether_or_not_the_application_listens_there(wire: Wire, address_of: Address) -> None:
    with_envoy(wire)
    own = address_of(wire.here)
    assert dial(wire.there, own, SERVED_PORT) == f"inbound {own}:{SERVED_PORT}"
    assert dial(wire.there, own, 9) == f"inbound {own}:9"


@in_namespaces
@FAMILIES
def test_without_envoy_nothing_comes_in_or_goes_out(wire: Wire, address_of: Address) -> None:
    assert dial(wire.here, address_of(wire.there), 80) == "refused"
    assert dial(wire.there, address_of(wire.here), SERVED_PORT) == "refused"


@in_namespaces
@FAMILIES
def test_the_proxys_user_and_the_agents_group_are_let_go(wire: Wire, address_of: Address) -> None:
    with_envoy(wire)
    peer = address_of(wire.there)
    assert dial(wire.here, peer, 80, uid=PROXY_ID, gid=PROXY_ID) == "peer -"
    assert dial(wire.here, peer, 80, uid=0, gid=PROXY_ID) == "peer -"


@in_namespaces
@FAMILIES
def test_what_envoy_sends_to_its_own_address_comes_in_again_and_its_way_to_the_application_does_not(
    wire: Wire, address_of: Address
) -> None:
    """So that a service which calls itself by its own name is met by its own sidecar."""
    with_envoy(wire)
    own = address_of(wire.here)
    inward = "::1" if ":" in own else INWARD_SOURCE
    assert dial(wire.here, own, SERVED_PORT, uid=PROXY_ID, gid=PROXY_ID).startswith("inbound ")
    assert dial(wire.here, own, SERVED_PORT, uid=PROXY_ID, gid=PROXY_ID, source=inward).startswith("application ")


@in_namespaces
@FAMILIES
def test_excluded_ports_and_the_machine_itself_are_not_captured(wire: Wire, address_of: Address) -> None:
    with_envoy(wire)
    assert dial(wire.here, address_of(wire.there), EXCLUDED_PORT) == "peer -"
    assert dial(wire.here, address_of(wire.here), SERVED_PORT).startswith("application ")
    assert dial(wire.here, "::1" if ":" in address_of(wire.here) else "127.0.0.1", SERVED_PORT).startswith("application ")


@in_namespaces
@FAMILIES
@pytest.mark.parametrize("port", [OUTBOUND_PORT, INBOUND_PORT])
def test_envoys_own_ports_cannot_be_dialled(wire: Wire, address_of: Address, port: int) -> None:
    """Envoy would read itself as the address that was dialled, and call itself without end."""
    with_envoy(wire)
    assert dial(wire.here, address_of(wire.here), port) == "refused"
    assert dial(wire.here, "::1" if ":" in address_of(wire.here) else "127.0.0.1", port) == "refused"
    assert dial(wire.there, address_of(wire.here), port) == "silence"


@in_namespaces
@pytest.mark.parametrize("policy", ["pass", "dns"])
@FAMILIES
def test_datagrams_pass_unless_only_dns_may(wire: Wire, address_of: Address, policy: str) -> None:
    apply(wire.here, rules(outbound_udp=policy))
    peer = address_of(wire.there)

    def sent(address: str, port: int, uid: int = APPLICATION) -> str:
        family = socket.AF_INET6 if ":" in address else socket.AF_INET
        receiver = (wire.there if address == peer else wire.here).run(lambda: socket.socket(family, socket.SOCK_DGRAM))
        sender = wire.here.run(lambda: socket.socket(family, socket.SOCK_DGRAM), uid=uid)
        with receiver, sender:
            receiver.bind((address, port))
            receiver.settimeout(1)
            sender.connect((address, port))
            try:
                sender.send(b"x")
                return "received" if receiver.recv(10) == b"x" else "changed"
            except (PermissionError, ConnectionError):
                return "refused"

    assert sent(peer, 53) == "received"
    assert sent(peer, 443) == ("received" if policy == "pass" else "refused")
    assert sent(address_of(wire.here), 8125) == "received"  # to itself
    assert sent(peer, 443, uid=PROXY_ID) == "received"


@in_namespaces
def test_the_rules_are_put_in_place_again_over_those_of_a_crashed_sidecar_and_taken_away(wire: Wire) -> None:
    redirect = Redirect(rules())
    wire.here.run(redirect.apply)  # over the ones of the fixture
    assert "9100" not in wire.here.command("nft", "list", "ruleset")
    wire.here.run(redirect.remove)
    assert wire.here.command("nft", "list", "ruleset") == ""
    wire.here.run(redirect.remove)
    assert dial(wire.here, wire.there.ipv4, 80) == "peer -"


@in_namespaces
def test_other_tables_are_left_alone(wire: Wire) -> None:
    apply(wire.here, "table inet other { chain mine { }; }")
    redirect = Redirect(rules())
    wire.here.run(redirect.apply)
    wire.here.run(redirect.remove)
    assert "table inet other" in wire.here.command("nft", "list", "ruleset")


@in_namespaces
def test_two_sidecars_cannot_have_one_namespace(wire: Wire) -> None:
    first, second = Redirect(rules()), Redirect(rules())
    wire.here.run(first.apply)
    with pytest.raises(CaptureError, match="another sidecar"):
        wire.here.run(second.apply)
    wire.there.run(second.apply)
    wire.there.run(second.remove)
    wire.here.run(first.remove)
    wire.here.run(second.apply)
    wire.here.run(second.remove)


@in_namespaces
def test_rules_that_the_kernel_refuses_change_nothing_and_are_told(wire: Wire) -> None:
    before = wire.here.command("nft", "list", "ruleset")
    broken = Redirect(rules().replace("redirect to :15006", "redirect to :no"))
    with pytest.raises(CaptureError, match="nft refused the redirect"):
        wire.here.run(broken.apply)
    assert wire.here.command("nft", "list", "ruleset") == before
    good = Redirect(rules())
    wire.here.run(good.apply)
    wire.here.run(good.remove)


def test_without_root_or_nft_the_way_out_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sidecar.capture.os.geteuid", lambda: 1000)
    with pytest.raises(CaptureError, match="--capture explicit"):
        Redirect(rules()).apply()
    monkeypatch.setattr("sidecar.capture.os.geteuid", lambda: 0)
    monkeypatch.setattr("sidecar.capture.find_program", lambda *_: None)
    with pytest.raises(CaptureError, match="apt-get install nftables"):
        Redirect(rules()).apply()


def test_ports_and_marks_are_those_that_the_control_plane_has_envoy_use() -> None:
    from controlplane.xds import clusters, inbound, outbound  # noqa: PLC0415  # both sides in one test

    assert (OUTBOUND_PORT, INBOUND_PORT) == (outbound.REDIRECT_PORT, inbound.REDIRECT_PORT)
    assert OUTBOUND_PORT != INBOUND_PORT
    assert (INWARD_SOURCE, "::1") == (clusters.INWARD_SOURCE, clusters.INWARD_SOURCE_IPV6)
