"""What a sidecar lets out: outbound listeners and routes toward approved upstreams and hosts. Never decides inbound traffic.

Traffic that was redirected meets one listener. Its chains match what may be reached; the rest of a connection's fate is in
the default chain: passed on (learn, audit) or closed under the name of the denial (enforce, quarantine).
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from envoy.config.core.v3 import address_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2
from google.protobuf.message import Message

from controlplane.topology.model import Port, Service
from controlplane.topology.protocol import Handling, handling, server_speaks_first
from controlplane.xds import chains, logging, names, types
from controlplane.xds.inbound import INSPECTION_TIMEOUT_SECONDS
from controlplane.xds.message import boolean, pack, seconds, socket_address
from controlplane.xds.snapshot import Resource, resource_of

REDIRECT_PORT = 15001
_HTTP_PROTOCOLS = ("http/1.0", "http/1.1", "h2c")
#: Ports on which the server usually speaks first: waiting for the client's bytes would stall both.
_SERVER_FIRST_PORTS = frozenset({21, 22, 25, 110, 143, 587, 3306, 4222})


@dataclass(frozen=True, slots=True)
class Upstream:
    """One port of a service, and whether this source may reach it.

    ``reported`` names (``would-deny:...``) a use that passes although it is not approved, where no sidecar stands at the
    destination to report it.
    """

    service: Service
    port: Port
    allowed: bool
    reported: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything that the outbound listeners of one source depend on.

    ``unknown_id`` names what becomes of hosts that the topology does not know: ``deny:...`` drops, ``would-deny:...``
    passes and reports, empty passes. ``deny_id`` names the denial of a known but not approved upstream.
    """

    source: Service
    upstreams: tuple[Upstream, ...]
    deny_id: str
    unknown_id: str

    @property
    def drops_unknown(self) -> bool:
        """Whether hosts that nobody knows are out of reach."""
        return self.unknown_id.startswith("deny:")


def resources(shape: Shape) -> Iterator[Resource]:
    """Listeners and routes."""
    if shape.source.capture == "redirect":
        yield from _redirected(shape)
    else:
        yield from _explicit(shape)


def _is_name_based(upstream: Upstream) -> bool:
    return not upstream.service.meshed and (
        handling(upstream.port.protocol) is Handling.HTTP or upstream.port.protocol in {"https", "tls"}
    )


def _cluster(upstream: Upstream, *, inspected_http: bool = False) -> str:
    if not upstream.service.meshed:
        return names.external_cluster(upstream.service.name, upstream.port.number)
    return names.mesh_cluster(upstream.service.name, upstream.port.number, inspected_http=inspected_http)


def _redirected(shape: Shape) -> Iterator[Resource]:
    built: list[listener_components_pb2.FilterChain] = []
    needs: set[tuple[str, str]] = set()
    http_ports: set[int] = set()
    for upstream in shape.upstreams:
        if _is_name_based(upstream):
            http_ports.add(upstream.port.number)
            if handling(upstream.port.protocol) is not Handling.HTTP:
                built += _by_server_name(shape, upstream)
        elif upstream.service.addresses and (upstream.allowed or not shape.drops_unknown):
            http_ports.add(upstream.port.number)
            built += _by_address(shape, upstream)
    for upstream in shape.upstreams:
        if upstream.allowed:
            needs.update((types.CLUSTER, name) for name in _clusters(upstream))
    # Envoy matches the port first and does not come back: each port in use needs its own chain for other hosts.
    for port in (*sorted(http_ports), None):
        route = names.egress_route(port)
        needs.add((types.ROUTE, route))
        match = chains.Match(application_protocols=_HTTP_PROTOCOLS)
        if port is not None:
            match.destination_port.value = port
        manager = chains.http_manager(logging.http_log("out"), routes=route, inbound=False)
        built.append(chains.chain(route, [manager], match))
        yield _routes(shape, port)
    listener = listener_pb2.Listener(
        name="outbound",
        address=socket_address("::", REDIRECT_PORT),
        filter_chains=built,
        default_filter_chain=_default(shape),
        listener_filters=_inspectors(shape, original_destination=True),
        listener_filters_timeout=seconds(INSPECTION_TIMEOUT_SECONDS),
        continue_on_listener_filters_timeout=True,
        enable_reuse_port=boolean(False),
    )
    listener.address.socket_address.ipv4_compat = True
    needs.add((types.CLUSTER, names.BLACKHOLE if shape.drops_unknown else names.PASSTHROUGH))
    if any(not upstream.allowed for upstream in shape.upstreams):
        needs.add((types.CLUSTER, names.BLACKHOLE))
    yield resource_of(types.LISTENER, listener.name, listener, needs)


def _clusters(upstream: Upstream) -> list[str]:
    found = [_cluster(upstream)]
    if upstream.service.meshed and handling(upstream.port.protocol) is Handling.INSPECT:
        found.append(_cluster(upstream, inspected_http=True))
    return found


def _default(shape: Shape) -> listener_components_pb2.FilterChain:
    log = logging.tcp_log("out")
    if shape.drops_unknown:
        return chains.closed(shape.unknown_id, log)
    return chains.chain(shape.unknown_id or "unknown", [chains.tcp_proxy(names.PASSTHROUGH, log)])


def _by_address(shape: Shape, upstream: Upstream) -> Iterator[listener_components_pb2.FilterChain]:
    """Chains for an upstream that is dialled at its own address."""

    def match(protocols: Sequence[str] = ()) -> chains.Match:
        built = chains.Match(application_protocols=protocols)
        built.destination_port.value = upstream.port.number
        for address in upstream.service.addresses:
            built.prefix_ranges.add(address_prefix=address).prefix_len.value = 128 if ":" in address else 32
        return built

    label = f"{upstream.service.name}/{upstream.port.number}"
    how = handling(upstream.port.protocol)
    if not upstream.allowed:
        yield _denied(shape, match(_HTTP_PROTOCOLS), http=True)
        yield _denied(shape, match(), http=False)
        return
    if how is not Handling.OPAQUE:
        cluster = _cluster(upstream, inspected_http=how is Handling.INSPECT)
        manager = chains.http_manager(logging.http_log("out"), routes=chains.route_to(cluster), inbound=False)
        yield chains.chain(upstream.reported or f"{label}/http", [manager], match(_HTTP_PROTOCOLS if how is Handling.INSPECT else ()))
    if how is not Handling.HTTP:
        yield chains.chain(upstream.reported or label, [chains.tcp_proxy(_cluster(upstream), logging.tcp_log("out"))], match())


def _by_server_name(shape: Shape, upstream: Upstream) -> Iterator[listener_components_pb2.FilterChain]:
    """A chain for TLS to an external host, known by its SNI; the cluster decides the address, not the application."""
    match = chains.Match(transport_protocol="tls", server_names=[upstream.service.name.name])
    match.destination_port.value = upstream.port.number
    if not upstream.allowed:
        yield _denied(shape, match, http=False)
        return
    proxy = chains.tcp_proxy(_cluster(upstream), logging.tcp_log("out"))
    yield chains.chain(upstream.reported or f"{upstream.service.name}/{upstream.port.number}", [proxy], match)


def _denied(shape: Shape, match: chains.Match, *, http: bool) -> listener_components_pb2.FilterChain:
    if http:
        routes = chains.routes_of("denied", [("denied", ["*"], chains.refuse(shape.deny_id))])
        manager = chains.http_manager(logging.http_log("out"), routes=routes, inbound=False)
        return chains.chain(shape.deny_id, [manager], match)
    return chains.chain(shape.deny_id, [chains.tcp_proxy(names.BLACKHOLE, logging.tcp_log("out"))], match)


def _routes(shape: Shape, port: int | None) -> Resource:
    """Hosts outside the mesh at one port: approved ones by name, the rest by what the source's mode says."""
    hosts = []
    needs: set[tuple[str, str]] = set()
    for upstream in shape.upstreams:
        if not _is_name_based(upstream) or upstream.port.number != port or upstream.port.protocol in {"https", "tls"}:
            continue
        name = upstream.service.name.name
        route = chains.forward(_cluster(upstream), name=upstream.reported) if upstream.allowed else chains.refuse(shape.deny_id)
        hosts.append((name, [name, f"{name}:{port}"], route))
        if upstream.allowed:
            needs.add((types.CLUSTER, _cluster(upstream)))
    if shape.drops_unknown:
        rest = chains.refuse(shape.unknown_id)
    else:
        rest = chains.forward(names.PASSTHROUGH, name=shape.unknown_id)
        needs.add((types.CLUSTER, names.PASSTHROUGH))
    hosts.append(("rest", ["*"], rest))
    name = names.egress_route(port)
    return resource_of(types.ROUTE, name, chains.routes_of(name, hosts), needs)


def _inspectors(shape: Shape, *, original_destination: bool) -> list[listener_components_pb2.ListenerFilter]:
    """Who was dialled, whether it is TLS and for which name, whether it is HTTP."""
    silent = _SERVER_FIRST_PORTS | {u.port.number for u in shape.upstreams if server_speaks_first(u.port.protocol)}
    wanted: list[tuple[str, Message]] = [
        ("tls_inspector", tls_inspector_pb2.TlsInspector()),
        ("http_inspector", http_inspector_pb2.HttpInspector()),
    ]
    filters = []
    if original_destination:
        filters.append(
            listener_components_pb2.ListenerFilter(
                name="envoy.filters.listener.original_dst", typed_config=pack(original_dst_pb2.OriginalDst())
            )
        )
    for name, config in wanted:
        inspector = listener_components_pb2.ListenerFilter(
            name=f"envoy.filters.listener.{name}", typed_config=pack(config)
        )
        for port in sorted(silent):
            rule = inspector.filter_disabled.or_match.rules.add()
            rule.destination_port_range.start = port
            rule.destination_port_range.end = port + 1
        filters.append(inspector)
    return filters


def _explicit(shape: Shape) -> Iterator[Resource]:
    """One loopback listener per upstream port that the topology gives an address."""
    by_port = {(u.service.name, u.port.number): u for u in shape.upstreams}
    for listen in shape.source.upstream_listeners:
        upstream = by_port.get((listen.service, listen.port))
        if upstream is None:
            continue
        needs = {(types.CLUSTER, name) for name in _clusters(upstream)} if upstream.allowed else {(types.CLUSTER, names.BLACKHOLE)}
        address: address_pb2.Address = socket_address(listen.address, listen.listen_port)
        listener = listener_pb2.Listener(
            name=f"outbound/{listen.service}/{listen.port}",
            address=address,
            filter_chains=list(_explicit_chains(shape, upstream)),
            listener_filters_timeout=seconds(INSPECTION_TIMEOUT_SECONDS),
            continue_on_listener_filters_timeout=True,
            enable_reuse_port=boolean(False),
        )
        if not server_speaks_first(upstream.port.protocol) and handling(upstream.port.protocol) is not Handling.HTTP:
            listener.listener_filters.extend(_inspectors(shape, original_destination=False))
        yield resource_of(types.LISTENER, listener.name, listener, needs)


def _explicit_chains(shape: Shape, upstream: Upstream) -> Iterator[listener_components_pb2.FilterChain]:
    how = handling(upstream.port.protocol)
    if not upstream.allowed:
        if how is not Handling.OPAQUE:
            match = None if how is Handling.HTTP else chains.Match(application_protocols=_HTTP_PROTOCOLS)
            yield _denied(shape, match or chains.Match(), http=True)
        if how is not Handling.HTTP:
            yield _denied(shape, chains.Match(), http=False)
        return
    if how is not Handling.OPAQUE:
        cluster = _cluster(upstream, inspected_http=how is Handling.INSPECT and upstream.service.meshed)
        manager = chains.http_manager(logging.http_log("out"), routes=chains.route_to(cluster), inbound=False)
        match = chains.Match(application_protocols=_HTTP_PROTOCOLS) if how is Handling.INSPECT else chains.Match()
        yield chains.chain(upstream.reported or "http", [manager], match)
    if how is not Handling.HTTP:
        yield chains.chain(upstream.reported or "tcp", [chains.tcp_proxy(_cluster(upstream), logging.tcp_log("out"))])
