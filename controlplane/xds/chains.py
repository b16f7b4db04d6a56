"""Filter chains and their filters: HTTP connection manager, TCP proxy, and the places that ECDS and RDS fill.

Never decides which chains a listener has.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.accesslog.v3 import accesslog_pb2
from envoy.config.core.v3 import base_pb2, config_source_pb2
from envoy.config.listener.v3 import listener_components_pb2
from envoy.config.route.v3 import route_components_pb2, route_pb2
from envoy.extensions.filters.http.router.v3 import router_pb2
from envoy.extensions.filters.network.http_connection_manager.v3 import http_connection_manager_pb2 as manager_pb2
from envoy.extensions.filters.network.tcp_proxy.v3 import tcp_proxy_pb2

from controlplane.xds import names
from controlplane.xds.message import boolean, from_control_plane, pack, seconds, uint32

#: Open requests and connections are logged this often, so that a stream that never ends is seen too.
LOG_INTERVAL_SECONDS = 5

_HTTP_RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_NETWORK_RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
#: Only what never reached the upstream is sent again, so a request is not done twice.
_RETRY_ON = "connect-failure,refused-stream,reset-before-request"

Filter = listener_components_pb2.Filter
Match = listener_components_pb2.FilterChainMatch


def chain(
    name: str,
    filters: Sequence[Filter],
    match: Match | None = None,
    transport_socket: base_pb2.TransportSocket | None = None,
    generation: int = 0,
) -> listener_components_pb2.FilterChain:
    """A filter chain. Envoy drains the connections of a chain that changed: another ``generation`` does just that."""
    built = listener_components_pb2.FilterChain(
        name=name, filters=filters, filter_chain_match=match, transport_socket=transport_socket
    )
    if generation:
        built.metadata.filter_metadata["picket"]["generation"] = generation
    return built


def ecds(name: str, *, http: bool) -> config_source_pb2.ExtensionConfigSource:
    """A filter's configuration by ECDS; without it the listener does not start, so it fails closed."""
    return config_source_pb2.ExtensionConfigSource(
        config_source=from_control_plane(), type_urls=[_HTTP_RBAC if http else _NETWORK_RBAC]
    )


def network_allow_list(name: str) -> Filter:
    """The allow-list of a TCP chain."""
    return Filter(name=name, config_discovery=ecds(name, http=False))


def tcp_proxy(cluster: str, log: accesslog_pb2.AccessLog, *, after_handshake: bool = False) -> Filter:
    """Bytes to a cluster. ``after_handshake`` waits for mTLS before the upstream is dialled (design decision 11)."""
    proxy = tcp_proxy_pb2.TcpProxy(
        stat_prefix="tcp",
        cluster=cluster,
        access_log=[log],
        access_log_options=tcp_proxy_pb2.TcpProxy.TcpAccessLogOptions(
            access_log_flush_interval=seconds(LOG_INTERVAL_SECONDS)
        ),
        idle_timeout=seconds(0),
    )
    if after_handshake:
        proxy.upstream_connect_mode = tcp_proxy_pb2.ON_DOWNSTREAM_TLS_HANDSHAKE
        proxy.max_early_data_bytes.CopyFrom(uint32(0))
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(proxy))


def http_manager(
    log: accesslog_pb2.AccessLog,
    *,
    routes: route_pb2.RouteConfiguration | str,
    allow_list: str | None = None,
    inbound: bool,
) -> Filter:
    """HTTP/1.1, HTTP/2 and gRPC. ``routes`` is a configuration, or the name of one to fetch by RDS."""
    manager = manager_pb2.HttpConnectionManager(
        stat_prefix="http",
        codec_type=manager_pb2.HttpConnectionManager.AUTO,
        access_log=[log],
        access_log_options=manager_pb2.HttpConnectionManager.HcmAccessLogOptions(
            access_log_flush_interval=seconds(LOG_INTERVAL_SECONDS)
        ),
        # The allow-list must see the path that the application will see.
        normalize_path=boolean(inbound),
        merge_slashes=inbound,
        stream_idle_timeout=seconds(0),
        server_header_transformation=manager_pb2.HttpConnectionManager.PASS_THROUGH,
        use_remote_address=boolean(False),
        skip_xff_append=True,
        generate_request_id=boolean(False),
        preserve_external_request_id=True,
        upgrade_configs=[manager_pb2.HttpConnectionManager.UpgradeConfig(upgrade_type="websocket")],
    )
    manager.http_protocol_options.accept_http_10 = True
    manager.internal_address_config.SetInParent()
    if inbound:
        # The caller's proven name for the application; whatever a caller wrote there is thrown away.
        manager.forward_client_cert_details = manager_pb2.HttpConnectionManager.SANITIZE_SET
        manager.set_current_client_cert_details.uri = True
    if allow_list is not None:
        manager.http_filters.add(name=allow_list, config_discovery=ecds(allow_list, http=True))
    manager.http_filters.add(name="envoy.filters.http.router", typed_config=pack(router_pb2.Router()))
    if isinstance(routes, str):
        manager.rds.route_config_name = routes
        manager.rds.config_source.CopyFrom(from_control_plane())
    else:
        manager.route_config.CopyFrom(routes)
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))


def route_to(cluster: str) -> route_pb2.RouteConfiguration:
    """Everything to one cluster."""
    return route_pb2.RouteConfiguration(
        name=cluster,
        virtual_hosts=[route_components_pb2.VirtualHost(name=cluster, domains=["*"], routes=[forward(cluster)])],
    )


def forward(cluster: str, name: str = "") -> route_components_pb2.Route:
    """A route that sends on, without a time limit of its own."""
    action = route_components_pb2.RouteAction(cluster=cluster, timeout=seconds(0))
    action.retry_policy.retry_on = _RETRY_ON
    action.retry_policy.num_retries.CopyFrom(uint32(2))
    return route_components_pb2.Route(name=name, match=route_components_pb2.RouteMatch(prefix="/"), route=action)


def refuse(deny_id: str) -> route_components_pb2.Route:
    """A route that answers 403 and says under which name the refusal is in the log."""
    body = f"{deny_id}: this call is not on the approved list; see `picket violations`\n"
    return route_components_pb2.Route(
        name=deny_id,
        match=route_components_pb2.RouteMatch(prefix="/"),
        direct_response=route_components_pb2.DirectResponseAction(
            status=403, body=base_pb2.DataSource(inline_string=body)
        ),
    )


def routes_of(name: str, hosts: Sequence[tuple[str, Sequence[str], route_components_pb2.Route]]) -> route_pb2.RouteConfiguration:
    """A route configuration of (virtual host name, domains, route)."""
    return route_pb2.RouteConfiguration(
        name=name,
        virtual_hosts=[
            route_components_pb2.VirtualHost(name=host, domains=domains, routes=[route]) for host, domains, route in hosts
        ],
    )


def closed(deny_id: str, log: accesslog_pb2.AccessLog) -> listener_components_pb2.FilterChain:
    """The chain of whatever fits no other: closed at once, under the name of the denial."""
    return chain(deny_id, [tcp_proxy(names.BLACKHOLE, log)])
