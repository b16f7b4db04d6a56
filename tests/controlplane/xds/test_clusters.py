"""Clusters of hosts outside the mesh."""

from __future__ import annotations

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from google.protobuf import any_pb2

from controlplane.topology.model import Kind, Port, Service, ServiceName
from controlplane.xds.clusters import external

PORT = Port(443, "https", 443)


def cluster_of(*endpoints: str) -> Cluster:
    """The cluster of an external host with these known addresses."""
    service = Service(ServiceName("external", "API.example.org"), Kind.EXTERNAL, (PORT,), endpoints, endpoints)
    cluster = Cluster()
    assert any_pb2.Any.FromString(external(service, PORT).any_bytes).Unpack(cluster)
    return cluster


def addresses_of(cluster: Cluster) -> list[str]:
    """Where it leads."""
    return [e.endpoint.address.socket_address.address for group in cluster.load_assignment.endpoints for e in group.lb_endpoints]


def test_a_name_server_that_does_not_answer_holds_up_no_other_change() -> None:
    """Envoy would acknowledge the cluster, and be sent its listeners, only when DNS answered or gave up after a minute."""
    cluster = cluster_of()
    assert (cluster.type, addresses_of(cluster)) == (Cluster.STRICT_DNS, ["api.example.org"])
    assert cluster.HasField("wait_for_warm_on_init")
    assert not cluster.wait_for_warm_on_init.value


def test_known_addresses_need_no_name_server() -> None:
    cluster = cluster_of("192.0.2.7", "2001:db8::7")
    assert (cluster.type, addresses_of(cluster)) == (Cluster.STATIC, ["192.0.2.7", "2001:db8::7"])
