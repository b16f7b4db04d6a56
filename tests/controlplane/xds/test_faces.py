"""What listeners and clusters see of a topology stays one object while replicas come and go."""

from __future__ import annotations

from dataclasses import replace

from controlplane.policy.rules import Mode, Policy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.xds import names, types
from controlplane.xds.compile import Compiler
from controlplane.xds.faces import Faces
from tests.controlplane.xds.worlds import TRUST

WEB, CART, BANK = ServiceName("shop", "web"), ServiceName("shop", "cart"), ServiceName("external", "bank.example")
HTTP = (Port(80, "http", 8080),)
SHOP = Topology.of(
    [
        Service(WEB, Kind.SERVICE, HTTP, ("10.1.0.1",), ("10.2.0.1",)),
        Service(CART, Kind.SERVICE, HTTP, ("10.1.0.2",), ("10.2.0.2",)),
        Service(BANK, Kind.EXTERNAL, HTTP, (), ("203.0.113.7",)),
    ]
)


def otherwise(name: ServiceName, **fields: object) -> Topology:
    """The shop with one service otherwise, and everything read anew."""
    services = {found: replace(service) for found, service in SHOP.services.items()}
    return Topology({**services, name: replace(SHOP.services[name], **fields)})  # type: ignore[arg-type]  # fields of `Service`


def test_replicas_do_not_show_and_all_else_does() -> None:
    faces = Faces()
    first = faces.of(SHOP)
    assert faces.of(SHOP) is first
    assert faces.of(otherwise(CART, endpoints=("10.2.0.3", "10.2.0.4"))) is first
    moved = faces.of(otherwise(CART, addresses=("10.1.0.9",)))
    assert moved is not first
    assert moved.services[WEB] is first.services[WEB], "what is built of it need not be compared"
    assert moved.services[CART].addresses == ("10.1.0.9",)
    assert faces.of(SHOP) == first


def test_where_a_host_outside_answers_is_part_of_its_cluster() -> None:
    faces = Faces()
    assert faces.of(SHOP) != faces.of(otherwise(BANK, endpoints=("203.0.113.8",)))


def test_the_order_shows() -> None:
    faces = Faces()
    assert list(faces.of(SHOP).services) == [WEB, CART, BANK]
    turned = Topology(dict(reversed(list(SHOP.services.items()))))
    assert list(faces.of(turned).services) == [BANK, CART, WEB]


def test_a_replica_more_changes_one_resource_of_callers_and_nothing_of_its_own() -> None:
    compiler, policy = Compiler(TRUST), Policy(1, {}, {WEB: Mode.ENFORCE, BANK: Mode.ENFORCE})
    after_topology = otherwise(CART, endpoints=("10.2.0.2", "10.2.0.3"))
    for name in (WEB, CART):
        before = compiler.compile_snapshot(policy, SHOP, SHOP.services[name].workload)
        after = compiler.compile_snapshot(policy, after_topology, SHOP.services[name].workload)
        assert before is not None
        assert after is not None
        same = {type_url for type_url in types.PUSH_ORDER if before.of_type(type_url) is after.of_type(type_url)}
        assert same == set(types.PUSH_ORDER) - {types.ENDPOINT}
        difference = after.of_type(types.ENDPOINT).since(before.of_type(types.ENDPOINT))
        assert [resource.name for resource in difference.changed] == [names.mesh_cluster(CART, 80)]
        assert not difference.gone


def test_sources_that_only_learn_have_one_listener() -> None:
    """What all may reach is built once, and kept once."""
    compiler = Compiler(TRUST)
    web, cart = (compiler.compile_snapshot(Policy(), SHOP, SHOP.services[name].workload) for name in (WEB, CART))
    assert web is not None
    assert cart is not None
    assert web.of_type(types.LISTENER)["outbound"] is cart.of_type(types.LISTENER)["outbound"]
    assert web.of_type(types.ENDPOINT) is cart.of_type(types.ENDPOINT)
