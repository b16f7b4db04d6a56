"""Where a demo puts things, and what it is going to call."""

from __future__ import annotations

import ipaddress
from pathlib import Path

import pytest

from controlplane.demo.plan import Plan, PlanError, make_plan
from controlplane.demo.preflight import DEFAULT_TOPOLOGY, TOPOLOGIES
from controlplane.topology.document import load_topology, parse_topology
from controlplane.topology.model import ServiceName

SHIPPED = sorted(TOPOLOGIES.glob("*.yaml"))
SMALL = b"""
services:
- {name: web, kind: gateway, ports: []}
- {name: cart, kind: service, namespace: shop, ports: [{port: 80, protocol: http}, {port: 81, protocol: grpc}], target_port: 8080}
- {name: db, kind: datastore, ports: [{port: 3306, protocol: mysql}]}
- {name: pay.example, kind: external, ports: [{port: 443, protocol: https}]}
edges:
- {from: web, to: cart, port: 80, protocol: http, requests: [{method: GET, path: "/cart/{id}/items/*"}, {method: PUT, path: /x}]}
- {from: web, to: cart, port: 81, protocol: grpc}
- {from: shop/cart, to: pay.example, port: 443, protocol: https}
"""


def planned(text: bytes, capture: str = "redirect", lowest_port: int = 1) -> Plan:
    """A plan in a directory that is never made."""
    return make_plan(parse_topology(text, "small.yaml"), Path("/tmp/none"), capture, "picket-demo-x", lowest_port)


@pytest.mark.parametrize("capture", ["redirect", "explicit"])
@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_nothing_listens_where_something_else_does(file: Path, capture: str) -> None:
    """Every address and port is somebody's alone."""
    plan = make_plan(load_topology(file), Path("/tmp/none"), capture, "run", 1024)
    places = [(address, port) for address, port, _ in plan.listening() if address != "0.0.0.0"]
    assert len(places) == len(set(places))
    assert all(ipaddress.ip_address(address).is_private or ipaddress.ip_address(address).is_loopback for address, _ in places)


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_expected_and_unexpected_are_all_pairs_and_never_the_same(file: Path) -> None:
    """Every port of every other service is either declared for a source, or is tried as what must not be."""
    plan = make_plan(load_topology(file), Path("/tmp/none"), "redirect", "run", 1)
    expected = {(use.source, use.destination, use.port) for use in plan.expected()}
    unexpected = [(use.source, use.destination, use.port) for use in plan.unexpected()]
    assert len(unexpected) == len(set(unexpected))
    assert not expected & set(unexpected)
    everything = {
        (source.service.name, target.service.name, port.number)
        for source in plan.meshed
        for target in plan.placed.values()
        for port in target.service.ports
        if source is not target
    }
    assert expected | set(unexpected) == everything


def test_the_full_size_of_online_boutique() -> None:
    """The numbers that the demo shows."""
    plan = make_plan(load_topology(DEFAULT_TOPOLOGY), Path("/tmp/none"), "redirect", "run", 1)
    assert (len(plan.placed), len(plan.document.edges)) == (13, 17)
    # Twelve services have one port and are called by twelve others; the load generator has none and calls all twelve.
    assert len(list(plan.unexpected())) == 12 * 11 + 12 - 17


def test_paths_with_placeholders_become_paths() -> None:
    """A request needs a path that exists."""
    paths = [use.path for use in planned(SMALL).expected()]
    assert paths[:2] == ["/cart/1/items/1", "/x"]


def test_a_grpc_port_without_requests_is_called_all_the_same() -> None:
    """gRPC has no root path to ask for."""
    use = next(use for use in planned(SMALL).expected() if use.port == 81)
    assert (use.method, use.path) == ("POST", "/picket.demo.Probe/Call")


def test_ports_that_share_a_target_get_targets_of_their_own() -> None:
    """A sidecar tells ports apart by where their connections arrive."""
    cart = planned(SMALL).placed[ServiceName("shop", "cart")].service
    assert [port.target for port in cart.ports] == [8080, 8081]


def test_without_rights_low_ports_move() -> None:
    """Who is not root cannot listen below 1024."""
    plan = planned(SMALL, "explicit", 1024)
    assert min(port for _, port, _ in plan.listening()) >= 1024
    use = next(use for use in plan.expected() if use.port == 80)
    assert plan.dialled(use)[1] == 20080


def test_redirect_dials_an_address_at_which_nobody_listens() -> None:
    """What a sidecar does not let out has nowhere to go."""
    plan = planned(SMALL)
    endpoints = {place.address for place in plan.placed.values()}
    assert all(plan.dialled(use)[0] not in endpoints for use in plan.expected() if plan.placed[use.destination].service.meshed)


def test_the_endpoint_is_the_sidecar() -> None:
    """Whoever goes around their own sidecar still meets the destination's."""
    plan = planned(SMALL)
    use = next(use for use in plan.expected() if use.port == 80)
    assert plan.endpoint(use) == (plan.placed[use.destination].service.endpoints[0], 8080)


def test_an_external_source_dials_the_endpoint_and_is_known_by_its_address() -> None:
    """It has no sidecar that would know a virtual address, or speak for it."""
    text = SMALL + b"- {from: pay.example, to: db, port: 3306, protocol: mysql}\n"
    plan = planned(text)
    use = next(use for use in plan.expected() if use.source.name == "pay.example")
    assert plan.dialled(use) == plan.endpoint(use)
    assert plan.placed[use.source].flow_source == f"ip:{plan.placed[use.source].address}"


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (b"services: []", "1 to 200 services; this topology has 0"),
        (b"services:\n" + b"".join(b"- {name: s%d, kind: service, ports: []}\n" % n for n in range(201)), "this topology has 201"),
    ],
)
def test_what_cannot_be_shown_is_said(text: bytes, said: str) -> None:
    """Before anything is started."""
    with pytest.raises(PlanError, match=said):
        planned(text)


def test_a_service_may_call_itself_by_a_listener() -> None:
    """Where capture is explicit, that call passes its sidecar like any other."""
    plan = planned(SMALL + b"- {from: db, to: db, port: 3306, protocol: mysql}\n", "explicit")
    use = next(use for use in plan.expected() if use.source == use.destination)
    assert plan.dialled(use) in {(listener.address, 3306) for listener in plan.placed[use.source].service.upstream_listeners}
