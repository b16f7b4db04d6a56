"""Clusters and their endpoints: mesh services, external hosts, the own application, pass-through and black hole.

Never says who may use them. Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/cluster/v3/cluster.proto
"""

from __future__ import annotations

from collections.abc import Iterable

from envoy.config.cluster.v3.cluster_pb2 import Cluster
from envoy.config.core.v3.address_pb2 import TcpKeepalive
from envoy.config.core.v3.health_check_pb2 import HEALTHY
from envoy.config.core.v3.protocol_pb2 import Http1ProtocolOptions, Http2ProtocolOptions
from envoy.config.endpoint.v3.endpoint_components_pb2 import Endpoint, LbEndpoint, LocalityLbEndpoints
from envoy.config.endpoint.v3.endpoint_pb2 import ClusterLoadAssignment
from envoy.extensions.upstreams.http.v3.http_protocol_options_pb2 import HttpProtocolOptions
from google.protobuf import any_pb2

from controlplane.topology.model import Kind, Port, Service
from controlplane.topology.protocol import Handling, handling
from controlplane.xds import names, tls, types
from controlplane.xds.message import boolean, from_control_plane, pack, seconds, socket_address, uint32
from controlplane.xds.snapshot import Resource, resource_of

CONNECT_TIMEOUT_SECONDS = 5
#: Where connections to the own application come from with redirect capture; `sidecar.capture` lets them pass.
INWARD_SOURCE, INWARD_SOURCE_IPV6 = "127.0.0.6", "::1"
_HTTP_OPTIONS = "envoy.extensions.upstreams.http.v3.HttpProtocolOptions"
#: The mesh limits nobody's load here: applications keep their own limits.
_NO_LIMIT = 2**32 - 1


def mesh(service: Service, port: Port, trust: tls.Trust, *, inspected_http: bool = False) -> Resource:
    """A meshed service's port over mTLS, its endpoints by EDS."""
    name = names.mesh_cluster(service.name, port.number, inspected_http=inspected_http)
    assignment = names.mesh_cluster(service.name, port.number)
    cluster = _cluster(name, Cluster.EDS, http=inspected_http or handling(port.protocol) is Handling.HTTP)
    cluster.eds_cluster_config.CopyFrom(Cluster.EdsClusterConfig(eds_config=from_control_plane(), service_name=assignment))
    cluster.transport_socket.CopyFrom(tls.upstream(trust, service.workload, tls.ALPN_HTTP if inspected_http else tls.ALPN))
    return resource_of(types.CLUSTER, name, cluster, ((types.ENDPOINT, assignment), (types.SECRET, tls.ROOTS)))


def mesh_endpoints(service: Service, port: Port) -> Resource:
    """Where the sidecars of a service's port listen."""
    name = names.mesh_cluster(service.name, port.number)
    return resource_of(types.ENDPOINT, name, _assignment(name, ((a, port.target) for a in service.endpoints)))


def unguarded(service: Service, port: Port) -> Resource:
    """A port of what has no sidecar: an external host's, or, where replicas lack one, whichever of them was dialled."""
    if service.kind is Kind.EXTERNAL:
        return external(service, port)
    name = names.external_cluster(service.name, port.number)
    cluster = _original_destination(name, http=handling(port.protocol) is not Handling.OPAQUE)
    return resource_of(types.CLUSTER, name, cluster)


def external(service: Service, port: Port) -> Resource:
    """An external host's port, by the addresses that the topology gives or by DNS: never where the application says."""
    name = names.external_cluster(service.name, port.number)
    known = bool(service.endpoints)
    kind = Cluster.STATIC if known else Cluster.STRICT_DNS
    cluster = _cluster(name, kind, http=handling(port.protocol) is Handling.HTTP)
    if not known:
        cluster.dns_lookup_family = Cluster.ALL  # IPv4 where IPv6 leads nowhere, and the other way around
        # Envoy acknowledges clusters when they are warm, and listeners wait for that: a name server that does not answer would
        # hold up every change for a minute, quarantine too.
        cluster.wait_for_warm_on_init.CopyFrom(boolean(on=False))
    hosts = service.endpoints if known else (service.name.name.lower(),)
    cluster.load_assignment.CopyFrom(_assignment(name, ((host, port.target) for host in hosts)))
    return resource_of(types.CLUSTER, name, cluster)


def application(service: Service, port: Port) -> Resource:
    """The sidecar's own application: at the address that was called (redirect), or where the topology says."""
    name = names.application_cluster(port.number)
    http = handling(port.protocol) is not Handling.OPAQUE
    if service.application is None:
        cluster = _inward(_original_destination(name, http=http))
    else:
        cluster = _cluster(name, Cluster.STATIC, http=http)
        cluster.load_assignment.CopyFrom(_assignment(name, ((service.application, port.target),)))
    return resource_of(types.CLUSTER, name, cluster)


def passthrough() -> Resource:
    """Wherever the application dialled."""
    return resource_of(types.CLUSTER, names.PASSTHROUGH, _original_destination(names.PASSTHROUGH, http=True))


def undeclared() -> Resource:
    """The own application at a port that the topology does not name, as it was called."""
    return resource_of(types.CLUSTER, names.UNDECLARED, _inward(_original_destination(names.UNDECLARED, http=False)))


def blackhole() -> Resource:
    """Nowhere: a connection to it is closed before a byte is sent."""
    return resource_of(types.CLUSTER, names.BLACKHOLE, _cluster(names.BLACKHOLE, Cluster.STATIC, http=False))


def edges() -> tuple[Resource, ...]:
    """What every sidecar has, whatever it may reach."""
    return passthrough(), undeclared(), blackhole()


def _original_destination(name: str, *, http: bool) -> Cluster:
    cluster = _cluster(name, Cluster.ORIGINAL_DST, http=http)
    cluster.lb_policy = Cluster.CLUSTER_PROVIDED
    return cluster


def _inward(cluster: Cluster) -> Cluster:
    """Marks connections to the own application by their source.

    Those of the proxy to its own address that lack it are calls of a service to itself, and redirected to the inbound listener
    (`sidecar.capture`).
    """
    cluster.upstream_bind_config.source_address.CopyFrom(socket_address(INWARD_SOURCE, 0).socket_address)
    cluster.upstream_bind_config.extra_source_addresses.add().address.CopyFrom(socket_address(INWARD_SOURCE_IPV6, 0).socket_address)
    return cluster


def _cluster(name: str, kind: Cluster.DiscoveryType, *, http: bool) -> Cluster:
    cluster = Cluster(name=name, connect_timeout=seconds(CONNECT_TIMEOUT_SECONDS), type=kind)
    limits = cluster.circuit_breakers.thresholds.add()
    for limit in ("max_connections", "max_pending_requests", "max_requests", "max_retries"):
        getattr(limits, limit).CopyFrom(uint32(_NO_LIMIT))
    cluster.upstream_connection_options.tcp_keepalive.CopyFrom(
        TcpKeepalive(keepalive_time=uint32(30), keepalive_interval=uint32(10), keepalive_probes=uint32(3))
    )
    if http:
        cluster.typed_extension_protocol_options[_HTTP_OPTIONS].CopyFrom(_same_protocol_as_downstream())
    return cluster


def _same_protocol_as_downstream() -> any_pb2.Any:
    same = HttpProtocolOptions.UseDownstreamHttpConfig(
        http_protocol_options=Http1ProtocolOptions(),
        http2_protocol_options=Http2ProtocolOptions(),
    )
    return pack(HttpProtocolOptions(use_downstream_protocol_config=same))


def _assignment(name: str, addresses: Iterable[tuple[str, int]]) -> ClusterLoadAssignment:
    endpoints = [
        LbEndpoint(
            endpoint=Endpoint(address=socket_address(host, port)),
            health_status=HEALTHY,
        )
        for host, port in addresses
    ]
    group = LocalityLbEndpoints(lb_endpoints=endpoints)
    return ClusterLoadAssignment(cluster_name=name, endpoints=[group])
