"""`picket-sidecar init` and the sidecar that relies on it, as processes with just the rights that they have in a pod."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator, Sequence
from ipaddress import ip_network

import pytest

from sidecar import init
from sidecar.capture import Redirect, rules
from sidecar.join import SettingsError
from sidecar.ports import ASKED_PORTS, INBOUND_PORT, OUTBOUND_PORT
from sidecar.settings import PROXY_ID
from tests.harness.namespaces import Namespace, as_user, missing, two_namespaces
from tests.sidecar.dialling import Greeters, Wire, dial

pytestmark = pytest.mark.skipif(bool(missing()), reason=missing() or "can run")
FAMILIES = pytest.mark.parametrize("family", ["ipv4", "ipv6"])
SERVED_PORT = 8080
#: What a container has whose securityContext drops ALL and adds NET_ADMIN.
ONLY_NET_ADMIN = ("setpriv", "--bounding-set=-all,+net_admin", "--inh-caps=-all", "--no-new-privs")
CHECK = "from sidecar.prepared import Prepared; made = Prepared(); made.check(); made.release(); print('there')"


@pytest.fixture
def wire() -> Iterator[Wire]:
    """A pod's namespace, and a peer's with servers in it."""
    with two_namespaces() as (here, there):
        greeters = Greeters()
        greeters.serve(here, SERVED_PORT, "application")
        for port in (80, 9100, 15021):
            greeters.serve(there, port, "peer")
        with greeters.running():
            yield Wire(here, there, greeters)


def run(space: Namespace, before: Sequence[str], *arguments: str) -> subprocess.CompletedProcess[str]:
    line = ["ip", "netns", "exec", space.name, *before, sys.executable, *arguments]
    return subprocess.run(line, capture_output=True, text=True, check=False, timeout=60)


def run_init(space: Namespace, *options: str) -> subprocess.CompletedProcess[str]:
    return run(space, ONLY_NET_ADMIN, "-m", "sidecar.main", "init", *options)


def check_as(space: Namespace, uid: int = PROXY_ID) -> subprocess.CompletedProcess[str]:
    """What a sidecar without any privilege finds."""
    return run(space, as_user(uid), "-c", CHECK)


def with_envoy(wire: Wire) -> None:
    wire.greeters.serve(wire.here, OUTBOUND_PORT, "outbound")
    wire.greeters.serve(wire.here, INBOUND_PORT, "inbound")


@FAMILIES
def test_with_net_admin_alone_it_leads_the_application_through_envoy(wire: Wire, family: str) -> None:
    made = run_init(wire.here)
    assert (made.returncode, made.stdout, made.stderr) == (0, "", "")
    own, peer = getattr(wire.here, family), getattr(wire.there, family)
    assert dial(wire.here, peer, 80) == "refused"  # fails closed until Envoy is there
    with_envoy(wire)
    assert dial(wire.here, peer, 80) == f"outbound {peer}:80"
    assert dial(wire.there, own, SERVED_PORT) == f"inbound {own}:{SERVED_PORT}"
    assert dial(wire.here, peer, 80, uid=PROXY_ID, gid=PROXY_ID) == "peer -"
    assert dial(wire.here, peer, 80, gid=PROXY_ID) == f"outbound {peer}:80"  # a group is no way around
    assert dial(wire.here, peer, 15021) == f"outbound {peer}:15021"  # somebody else's health is a call like another


@FAMILIES
def test_pickets_own_ports_and_what_was_excluded_are_not_captured(wire: Wire, family: str) -> None:
    own, peer = getattr(wire.here, family), getattr(wire.there, family)
    options = ["--exclude-inbound-ports", f"22, {SERVED_PORT}", "--exclude-outbound-ports", "9100"]
    assert run_init(wire.here, *options).returncode == 0
    for port in ASKED_PORTS:
        wire.greeters.serve(wire.here, port, "own")
    with_envoy(wire)
    assert [dial(wire.there, own, port).split()[0] for port in ASKED_PORTS] == ["own"] * 3
    assert dial(wire.there, own, SERVED_PORT).startswith("application ")
    assert dial(wire.here, peer, 9100) == "peer -"
    assert dial(wire.here, peer, 80) == f"outbound {peer}:80"
    assert dial(wire.there, own, INBOUND_PORT) == "silence"


@FAMILIES
def test_networks_can_be_excluded_also_ones_that_overlap(wire: Wire, family: str) -> None:
    peer = getattr(wire.there, family)
    assert run_init(wire.here, "--exclude-outbound-cidrs", "10.77.0.0/16,10.77.0.0/24,fd77::/32,fd77::2/128").returncode == 0
    with_envoy(wire)
    assert dial(wire.here, peer, 80) == "peer -"
    assert run_init(wire.here).returncode == 0
    assert dial(wire.here, peer, 80) == f"outbound {peer}:80"


def test_again_it_changes_nothing_and_other_tables_are_left_alone(wire: Wire) -> None:
    wire.here.command("nft", "add table inet other")
    options = ["--exclude-outbound-cidrs", "192.0.2.0/24", "--exclude-inbound-ports", "22", "--outbound-udp", "dns"]
    assert run_init(wire.here, *options).returncode == 0
    before = wire.here.command("nft", "list", "ruleset")
    assert run_init(wire.here, *options).returncode == 0
    assert wire.here.command("nft", "list", "ruleset") == before
    assert "table inet other" in before


def test_a_sidecar_without_privilege_sees_that_the_rules_are_there(wire: Wire) -> None:
    assert run_init(wire.here).returncode == 0
    found = check_as(wire.here)
    assert (found.returncode, found.stdout, found.stderr) == (0, "there\n", "")


def test_without_the_rules_or_for_another_user_the_sidecar_does_not_start(wire: Wire) -> None:
    assert "the redirect is not in this network namespace" in check_as(wire.here).stderr
    assert run_init(wire.here, "--uid", "4242").returncode == 0
    assert "not for user 1337" in check_as(wire.here).stderr
    assert check_as(wire.here, 4242).returncode == 0


def test_somebody_in_envoys_place_is_told(wire: Wire) -> None:
    assert run_init(wire.here).returncode == 0
    with_envoy(wire)
    assert "port 15006 is Envoy's, and somebody has it" in check_as(wire.here).stderr


def test_where_there_is_no_address_to_try_with_nothing_is_believed() -> None:
    bare = subprocess.run(["unshare", "--net", sys.executable, "-c", CHECK], capture_output=True, text=True, check=False)
    assert "no address but loopback" in bare.stderr


def test_it_does_not_take_a_sidecar_its_own_rules(wire: Wire) -> None:
    redirect = Redirect(rules())
    wire.here.run(redirect.apply)
    told = run_init(wire.here)
    assert (told.returncode, "another sidecar captures" in told.stderr) == (1, True)
    assert "another sidecar captures" in check_as(wire.here).stderr
    wire.here.run(redirect.remove)
    assert run_init(wire.here).returncode == 0


def test_without_net_admin_it_says_what_is_missing(wire: Wire) -> None:
    told = run(wire.here, ("setpriv", "--bounding-set=-all", "--inh-caps=-all"), "-m", "sidecar.main", "init")
    assert told.returncode == 1
    assert "CAP_NET_ADMIN" in told.stderr


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--uid", "0"], "--uid"),
        (["--exclude-inbound-ports", "80,http"], "--exclude-inbound-ports: 'http'"),
        (["--exclude-outbound-ports", "70000"], "--exclude-outbound-ports: '70000'"),
        (["--exclude-outbound-cidrs", "10.0.0.1/8"], "--exclude-outbound-cidrs: '10.0.0.1/8'"),
        (["--exclude-outbound-cidrs", "0.0.0.0/0"], "nothing would be captured"),
        (["--exclude-outbound-ports", ",".join(map(str, range(1, 1100)))], "more than 1000"),
        (["stray"], "unrecognized arguments"),
    ],
)
def test_mistakes_are_told(options: list[str], told: str) -> None:
    with pytest.raises(SettingsError, match=told):
        init.parse(options, {})


def test_options_can_stand_in_the_environment() -> None:
    asked = init.parse([], {"PICKET_SIDECAR_EXCLUDE_OUTBOUND_CIDRS": "10.0.0.0/8", "PICKET_SIDECAR_EXCLUDE_INBOUND_PORTS": "22"})
    assert asked.excluded.outbound_networks == (ip_network("10.0.0.0/8"),)
    assert asked.excluded.inbound_ports == (22, *ASKED_PORTS)
    assert asked.uid == PROXY_ID
