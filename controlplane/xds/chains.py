"""Filter chains and their filters: HTTP connection manager, TCP proxy, and the places that ECDS and RDS fill.

Never decides which chains a listener has.
Source: https://www.envoyproxy.io/docs/envoy/latest/api-v3/config/listener/v3/listener_components.proto
"""

from __future__ import annotations

from collections.abc import Sequence

from envoy.config.accesslog.v3.accesslog_pb2 import AccessLog, AccessLogFilter, ResponseFlagFilter
from envoy.config.core.v3.base_pb2 import DataSource, TransportSocket
from envoy.config.core.v3.config_source_pb2 import ExtensionConfigSource
from envoy.config.core.v3.extension_pb2 import TypedExtensionConfig
from envoy.config.listener.v3.listener_components_pb2 import Filter, FilterChain
from envoy.config.listener.v3.listener_components_pb2 import FilterChainMatch as Match
from envoy.config.route.v3.route_components_pb2 import DirectResponseAction, Route, RouteAction, RouteMatch, VirtualHost
from envoy.config.route.v3.route_pb2 import RouteConfiguration
from envoy.extensions.filters.http.router.v3.router_pb2 import Router
from envoy.extensions.filters.network.http_connection_manager.v3.http_connection_manager_pb2 import (
    HttpConnectionManager,
    LocalReplyConfig,
    ResponseMapper,
)
from envoy.extensions.filters.network.tcp_proxy.v3.tcp_proxy_pb2 import ON_DOWNSTREAM_TLS_HANDSHAKE, TcpProxy
from envoy.extensions.http.early_header_mutation.header_mutation.v3.header_mutation_pb2 import HeaderMutation

from controlplane.xds import names
from controlplane.xds.message import boolean, from_control_plane, pack, seconds, uint32

__all__ = ["Filter", "FilterChain", "Match", "Route", "chain", "closed", "forward", "http_manager", "network_allow_list",
           "plain", "refuse", "route_to", "routes_of", "tcp_proxy", "tls"]  # fmt: skip

#: Open requests and connections are logged this often, so that a stream that never ends is seen too.
LOG_INTERVAL_SECONDS = 5

#: Protocols that a request may change to, once it was let through.
_UPGRADES = ("websocket", "spdy/3.1")
_HTTP_RBAC = "type.googleapis.com/envoy.extensions.filters.http.rbac.v3.RBAC"
_NETWORK_RBAC = "type.googleapis.com/envoy.extensions.filters.network.rbac.v3.RBAC"
#: Only what never reached the upstream is sent again, so a request is not done twice.
_RETRY_ON = "connect-failure,refused-stream,reset-before-request"


def plain(protocols: Sequence[str] = ()) -> Match:
    """A match of connections without TLS, of these application protocols if any.

    Envoy does not come back: where one chain asks for a transport protocol, the others of its port have to ask for one too.
    """
    return Match(application_protocols=protocols, transport_protocol="raw_buffer")


def tls(protocols: Sequence[str] = ()) -> Match:
    """A match of TLS connections that offer one of these application protocols; without any, of those that fit no other."""
    return Match(application_protocols=protocols, transport_protocol="tls")


def chain(
    name: str, filters: Sequence[Filter], match: Match | None = None, socket: TransportSocket | None = None, generation: str = ""
) -> FilterChain:
    """A filter chain. Envoy drains the connections of a chain that changed: another ``generation`` does just that."""
    built = FilterChain(name=name, filters=filters, filter_chain_match=match, transport_socket=socket)
    if generation:
        built.metadata.filter_metadata["picket"]["generation"] = generation
    return built


def ecds(*, http: bool) -> ExtensionConfigSource:
    """A filter's configuration by ECDS, under the filter's name; without it the listener does not start: it fails closed."""
    return ExtensionConfigSource(config_source=from_control_plane(), type_urls=[_HTTP_RBAC if http else _NETWORK_RBAC])


def network_allow_list(name: str) -> Filter:
    """The allow-list of a TCP chain."""
    return Filter(name=name, config_discovery=ecds(http=False))


def tcp_proxy(cluster: str, log: AccessLog | None = None, *, after_handshake: bool = False) -> Filter:
    """Bytes to a cluster. ``after_handshake`` waits for mTLS before the upstream is dialled (design decision 11)."""
    proxy = TcpProxy(
        stat_prefix="tcp",
        cluster=cluster,
        access_log=[] if log is None else [log],
        access_log_options=TcpProxy.TcpAccessLogOptions(access_log_flush_interval=seconds(LOG_INTERVAL_SECONDS)),
        idle_timeout=seconds(0),
    )
    if after_handshake:
        proxy.upstream_connect_mode = ON_DOWNSTREAM_TLS_HANDSHAKE
        proxy.max_early_data_bytes.CopyFrom(uint32(0))
    return Filter(name="envoy.filters.network.tcp_proxy", typed_config=pack(proxy))


def http_manager(log: AccessLog, *, routes: RouteConfiguration | str, allow_list: str | None = None, inbound: bool) -> Filter:
    """HTTP/1.1, HTTP/2 and gRPC. ``routes`` is a configuration, or the name of one to fetch by RDS.

    Inbound paths are normalised (RFC 3986: dot segments, escapes of unreserved characters) before the allow-list, and the
    application gets that path: it never sees another one than was decided on. Double and encoded slashes stay, because
    they may mean something to it; `policy.rules.AMBIGUOUS_PATH` keeps them out of patterns.
    """
    manager = HttpConnectionManager(
        stat_prefix="http",
        codec_type=HttpConnectionManager.AUTO,
        access_log=[log],
        access_log_options=HttpConnectionManager.HcmAccessLogOptions(access_log_flush_interval=seconds(LOG_INTERVAL_SECONDS)),
        normalize_path=boolean(on=inbound),
        path_with_escaped_slashes_action=HttpConnectionManager.KEEP_UNCHANGED,
        stream_idle_timeout=seconds(0),
        server_header_transformation=HttpConnectionManager.PASS_THROUGH,
        use_remote_address=boolean(on=False),
        skip_xff_append=True,
        generate_request_id=boolean(on=False),
        preserve_external_request_id=True,
        upgrade_configs=[HttpConnectionManager.UpgradeConfig(upgrade_type=name) for name in _UPGRADES],
        early_header_mutation_extensions=[_without_orders()],
    )
    # A server may take no notice of an upgrade to TLS (RFC 9110, 7.8), and its client goes on as it is.
    manager.http_protocol_options.ignore_http_11_upgrade.add(prefix="tls/", ignore_case=True)
    manager.http_protocol_options.accept_http_10 = True
    manager.http_protocol_options.allow_custom_methods = True  # as in HTTP/2; a rule names a method exactly
    manager.internal_address_config.SetInParent()
    if inbound:
        # The caller's proven name for the application; whatever a caller wrote there is thrown away.
        manager.forward_client_cert_details = HttpConnectionManager.SANITIZE_SET
        manager.set_current_client_cert_details.uri = True
    else:
        manager.local_reply_config.CopyFrom(_taken_away())
    if allow_list is not None:
        manager.http_filters.add(name=allow_list, config_discovery=ecds(http=True))
    router = pack(Router(suppress_envoy_headers=True))
    manager.http_filters.add(name="envoy.filters.http.router", typed_config=router)
    if isinstance(routes, str):
        manager.rds.route_config_name = routes
        manager.rds.config_source.CopyFrom(from_control_plane())
    else:
        manager.route_config.CopyFrom(routes)
    return Filter(name="envoy.filters.network.http_connection_manager", typed_config=pack(manager))


def _without_orders() -> TypedExtensionConfig:
    """Takes off what Envoy would obey from anybody: time limits, retries, hedging, a path of another name.

    https://www.envoyproxy.io/docs/envoy/latest/configuration/http/http_filters/router_filter#http-headers-consumed-from-downstream-clients
    """
    mutation = HeaderMutation()
    mutation.mutations.add().remove_on_match.key_matcher.prefix = "x-envoy-"
    return TypedExtensionConfig(name="envoy.http.early_header_mutation.header_mutation", typed_config=pack(mutation))


def _taken_away() -> LocalReplyConfig:
    """403 where Envoy would say 503: a connection from before a revocation keeps its chain, whose cluster is gone.

    A 503 would be tried again, and a gRPC client would wait for the service to come back.
    """
    mapper = ResponseMapper(
        filter=AccessLogFilter(response_flag_filter=ResponseFlagFilter(flags=["NC"])),
        status_code=uint32(403),
        body=DataSource(inline_string="this may not be called from here any more; see `picket violations`\n"),
    )
    return LocalReplyConfig(mappers=[mapper])


def route_to(cluster: str) -> RouteConfiguration:
    """Everything to one cluster."""
    return routes_of(cluster, [(cluster, ["*"], forward(cluster))])


def any_path() -> RouteMatch:
    """A match of every request but CONNECT; an empty prefix, because the path of ``OPTIONS *`` does not begin with a slash."""
    match = RouteMatch()
    match.prefix = ""
    return match


def forward(cluster: str, name: str = "", match: RouteMatch | None = None) -> list[Route]:
    """A route that sends on, without a time limit of its own."""
    action = RouteAction(cluster=cluster, timeout=seconds(0))
    action.retry_policy.retry_on = _RETRY_ON
    action.retry_policy.num_retries.CopyFrom(uint32(2))
    return [Route(name=name, match=match or any_path(), route=action)]


def refuse(deny_id: str) -> list[Route]:
    """Routes that answer 403 and say under which name the refusal is in the log, also to those who ask for a tunnel."""
    body = f"{deny_id}: this call is not on the approved list; see `picket violations`\n"
    answer = DirectResponseAction(status=403, body=DataSource(inline_string=body))
    tunnel = RouteMatch(connect_matcher=RouteMatch.ConnectMatcher())
    return [Route(name=deny_id, match=match, direct_response=answer) for match in (any_path(), tunnel)]


def routes_of(name: str, hosts: Sequence[tuple[str, Sequence[str], Sequence[Route]]]) -> RouteConfiguration:
    """A route configuration of (virtual host name, domains, routes)."""
    return RouteConfiguration(
        name=name, virtual_hosts=[VirtualHost(name=host, domains=domains, routes=routes) for host, domains, routes in hosts]
    )


def closed(deny_id: str, log: AccessLog) -> FilterChain:
    """The chain of whatever fits no other: closed at once, under the name of the denial."""
    return chain(deny_id, [tcp_proxy(names.BLACKHOLE, log)])
