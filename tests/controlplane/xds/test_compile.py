"""Snapshots of random policies in random topologies.

They are whole and scoped, the same however they came about, and two libraries read them alike.
"""

from __future__ import annotations

import importlib
import itertools
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import may_reach
from controlplane.policy.rules import Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from controlplane.xds import names, types
from controlplane.xds.compile import Compiler
from controlplane.xds.snapshot import Resource, Snapshot
from tests.controlplane.xds.worlds import TRUST, policies, topologies

# envoy-data-plane does what pydantic has deprecated, when it is imported: in the tests, where it may.
pytestmark = pytest.mark.filterwarnings("ignore::pydantic.warnings.PydanticDeprecatedSince212")


def compiled(policy: Policy, topology: Topology, compiler: Compiler | None = None) -> dict[WorkloadId, Snapshot]:
    """Everybody's snapshot."""
    compiler = compiler or Compiler(TRUST)
    found = {workload: compiler.compile_snapshot(policy, topology, workload) for workload in topology.by_workload}
    return {workload: snapshot for workload, snapshot in found.items() if snapshot is not None}


def resources(snapshot: Snapshot) -> Iterator[Resource]:
    for by_name in snapshot.resources.values():
        yield from by_name.values()


def walk(value: Any) -> Iterator[dict[str, Any]]:
    """Every message in a message, as JSON."""
    if isinstance(value, dict):
        yield value
        value = list(value.values())
    for item in value if isinstance(value, list) else ():
        yield from walk(item)


def mentioned(content: dict[str, Any]) -> set[tuple[str, str]]:
    """What a message refers to, read from the message itself."""
    found: set[tuple[str, str]] = set()
    for message in walk(content):
        if not message.get("cluster", "%").startswith("%"):  # that would be the log's format
            found.add((types.CLUSTER, message["cluster"]))
        if "configDiscovery" in message:
            found.add((types.EXTENSION, message["name"]))
        if "routeConfigName" in message:
            found.add((types.ROUTE, message["routeConfigName"]))
        if "edsClusterConfig" in message:
            found.add((types.ENDPOINT, message["edsClusterConfig"]["serviceName"]))
        if "sdsConfig" in message and message["name"] != "identity":
            found.add((types.SECRET, message["name"]))
    return found


@given(policies(), topologies())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_every_snapshot_holds_all_that_its_bytes_refer_to_and_says_so(policy: Policy, topology: Topology) -> None:
    decoded = importlib.import_module("controlplane.api.decoded")
    for snapshot in compiled(policy, topology).values():
        snapshot.check_consistent()
        for resource in resources(snapshot):
            content = decoded._decode_by_descriptors(resource.any_bytes)
            assert content["@type"] == resource.type_url
            assert content.get("name", content.get("clusterName")) == resource.name
            assert mentioned(content) == set(resource.needs), (resource.name, mentioned(content) ^ set(resource.needs))


@given(policies(), topologies())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_no_listener_has_what_envoy_refuses(policy: Policy, topology: Topology) -> None:
    """Two chains for one match, two hosts for one name, two listeners at one address."""
    decoded = importlib.import_module("controlplane.api.decoded")
    for snapshot in compiled(policy, topology).values():
        taken: set[tuple[str, int]] = set()
        for resource in snapshot.of_type(types.LISTENER).values():
            listener = decoded._decode_by_descriptors(resource.any_bytes)
            places = [listener["address"], *(more["address"] for more in listener.get("additionalAddresses", []))]
            for place in ((p["socketAddress"].get("address", ""), p["socketAddress"]["portValue"]) for p in places):
                assert place not in taken
                taken.add(place)
            chains = [chain.get("filterChainMatch", {}) for chain in listener.get("filterChains", [])]
            matches = [match for chain in chains for match in _expanded(chain)]
            assert len(matches) == len(set(matches)), (resource.name, matches)
        for resource in snapshot.of_type(types.ROUTE).values():
            hosts = decoded._decode_by_descriptors(resource.any_bytes)["virtualHosts"]
            domains = [domain.lower() for host in hosts for domain in host["domains"]]
            assert len(domains) == len(set(domains)), domains
            assert len({host["name"] for host in hosts}) == len(hosts)


def _expanded(match: dict[str, Any]) -> Iterator[tuple[object, ...]]:
    """A match with several addresses, names or protocols is as many."""
    keys = ("prefixRanges", "serverNames", "applicationProtocols", "sourcePrefixRanges")
    for combination in itertools.product(*([repr(item) for item in match.get(key, [None])] for key in keys)):
        yield (match.get("destinationPort"), match.get("transportProtocol"), *combination)


@given(st.lists(st.tuples(policies(), topologies()), min_size=2, max_size=4))
@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_what_was_compiled_before_changes_nothing(worlds: list[tuple[Policy, Topology]]) -> None:
    """Every cache knows every input; a version stands for the same bytes whoever made them."""
    used = Compiler(TRUST)
    bytes_of: dict[tuple[str, str, str], bytes] = {}
    for policy, topology in [*worlds, worlds[0]]:
        fresh = compiled(policy, topology)
        for workload, snapshot in compiled(policy, topology, used).items():
            assert snapshot.resources == fresh[workload].resources
            assert snapshot.version == fresh[workload].version
            for resource in resources(snapshot):
                key = (resource.type_url, resource.name, resource.version)
                assert bytes_of.setdefault(key, resource.any_bytes) == resource.any_bytes


@given(st.lists(st.tuples(policies(), topologies()), min_size=1, max_size=3))
@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_with_other_roots_it_compiles_what_one_with_those_roots_compiles(worlds: list[tuple[Policy, Topology]]) -> None:
    """Nothing with the roots of before is left, and the compiler of before goes on with its own."""
    before = Compiler(TRUST)
    for policy, topology in worlds:
        held = compiled(policy, topology, before)
        after = before.trusting(b"other roots")
        fresh = compiled(policy, topology, Compiler(replace(TRUST, bundle_pem=b"other roots")))
        for workload, snapshot in compiled(policy, topology, after).items():
            assert (snapshot.resources, snapshot.bundle) == (fresh[workload].resources, fresh[workload].bundle)
        for workload, snapshot in compiled(policy, topology, before).items():
            assert (snapshot.resources, snapshot.bundle) == (held[workload].resources, held[workload].bundle)


@given(policies(), topologies())
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_a_sidecar_is_told_of_what_it_may_reach_and_of_nothing_else(policy: Policy, topology: Topology) -> None:
    for workload, snapshot in compiled(policy, topology).items():
        source = topology.by_workload[workload]
        listed = {listener.service for listener in source.upstream_listeners}
        expected = set()
        for service in topology.services.values():
            if source.capture == "explicit" and service.name not in listed:
                continue
            reachable = may_reach(policy, workload, service.name)
            expected |= {(service.name, port.number) for port in service.ports if reachable is None or port.number in reachable}
        made = {name for service, port in expected for name in _clusters_of(topology.services[service], port)}
        assert {n for n in snapshot.of_type(types.CLUSTER) if n.startswith((names.MESH_PREFIX, "external|"))} == made


def _clusters_of(service: Service, number: int) -> set[str]:
    if not service.meshed:
        return {names.external_cluster(service.name, number)}
    port = service.port(number)
    assert port is not None
    both = [False, True] if port.protocol == "auto" else [False]
    return {names.mesh_cluster(service.name, number, inspected_http=http) for http in both}


@given(policies(), topologies())
@settings(max_examples=6, deadline=None, suppress_health_check=[HealthCheck.too_slow])
def test_two_libraries_read_the_same(policy: Policy, topology: Topology) -> None:
    """The upb messages that wrote part of the bytes (the rest is spliced), and `envoy-data-plane`, which knows nothing of them."""
    decoded = importlib.import_module("controlplane.api.decoded")
    snapshot = next(iter(compiled(policy, topology).values()))
    for resource in resources(snapshot):
        if b"IPMatcher" not in resource.any_bytes:  # the one type that envoy-data-plane 2.2 lacks
            read = decoded._decode_by_descriptors(resource.any_bytes)
            assert _normal(decoded.decode_typed(resource.any_bytes)) == _normal(read), resource.name


def _normal(value: Any) -> Any:
    """Protobuf JSON has more than one way to write a duration."""
    if isinstance(value, dict):
        return {key: _normal(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_normal(item) for item in value]
    if isinstance(value, str) and value.endswith("s") and value[:-1].replace(".", "", 1).isdigit():
        return f"{float(value[:-1]):g}s"
    return value


WEB, CART = ServiceName("shop", "web"), ServiceName("shop", "cart")
SMALL = Topology.of(
    [
        Service(WEB, Kind.SERVICE, (Port(80, "http", 8080),), ("10.1.0.1",), ("10.2.0.1",)),
        Service(CART, Kind.SERVICE, (Port(7070, "grpc", 7070),), ("10.1.0.2",), ("10.2.0.2",)),
    ]
)
ENFORCED = {WEB: Mode.ENFORCE, CART: Mode.ENFORCE}


def versions(policy: Policy, service: ServiceName) -> dict[tuple[str, str], str]:
    workload = service.workload
    assert workload is not None
    return {(r.type_url, r.name): r.version for r in resources(compiled(policy, SMALL)[workload])}


def test_a_workload_that_nobody_declared_has_no_snapshot() -> None:
    assert Compiler(TRUST).compile_snapshot(Policy(), SMALL, WorkloadId("shop", "nobody")) is None


def test_an_approval_changes_the_allow_list_at_one_end_and_the_upstreams_at_the_other() -> None:
    before = Policy(1, {CART: ServicePolicy(CART, (), 1)}, ENFORCED)
    services = {CART: ServicePolicy(CART, (Rule(WorkloadId(*WEB), 7070),), 2), WEB: ServicePolicy(WEB, (), 0, 2)}
    after = Policy(2, services, ENFORCED)
    changed = {
        service: {key for key in {*old, *new} if old.get(key) != new.get(key)}
        for service in (WEB, CART)
        for old, new in [(versions(before, service), versions(after, service))]
    }
    cluster = names.mesh_cluster(CART, 7070)
    assert changed[CART] == {(types.EXTENSION, names.allow_list(7070, http=True, plaintext=False)), (types.LISTENER, "inbound")}
    assert {key for key in changed[WEB] if key[0] in {types.CLUSTER, types.ENDPOINT}} == {
        (types.CLUSTER, cluster), (types.ENDPOINT, cluster),
    }  # fmt: skip
    assert not any(type_url == types.EXTENSION for type_url, _ in changed[WEB])


def test_rules_show_nothing_while_everything_is_learned() -> None:
    """So that nothing is pushed."""
    learning = Policy(1, {CART: ServicePolicy(CART, (), 1)})
    approved = Policy(2, {CART: ServicePolicy(CART, (Rule(WorkloadId(*WEB), 7070),), 2)})
    assert versions(learning, CART) == versions(approved, CART)


def test_ports_that_lead_to_one_target_share_the_list_of_the_first() -> None:
    """A sidecar cannot tell which was dialled; two chains for one match would have Envoy refuse everything."""
    topology = Topology.of([Service(WEB, Kind.SERVICE, (Port(80, "http", 8080), Port(8080, "http", 8080)), (), ("10.2.0.1",))])
    (snapshot,) = compiled(Policy(), topology).values()
    assert set(snapshot.of_type(types.EXTENSION)) == {
        names.allow_list(80, http=http, plaintext=plaintext) for http, plaintext in [(True, True), (True, False), (False, True)]
    }
