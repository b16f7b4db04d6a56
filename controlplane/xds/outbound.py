"""What a sidecar lets out: outbound listeners and routes toward approved upstreams and hosts. Never decides inbound traffic.

Traffic that was redirected meets one listener. Its chains match what may be reached; the rest of a connection's fate is in
the default chain: passed on (learn, audit) or closed under the name of the denial (enforce, quarantine).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial

from envoy.config.listener.v3.listener_components_pb2 import FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector

from controlplane.topology.model import UpstreamListener
from controlplane.topology.protocol import Handling, handling
from controlplane.xds import chains, egress, logging, names, types
from controlplane.xds.inbound import HTTP_PROTOCOLS, INSPECTION_TIMEOUT_SECONDS
from controlplane.xds.message import boolean, pack, seconds, socket_address
from controlplane.xds.sharing import Shared
from controlplane.xds.snapshot import Resource, resource_of
from controlplane.xds.upstream import Upstream, told_apart

REDIRECT_PORT = 15001


@dataclass(frozen=True, slots=True)
class Shape:
    """Everything that the outbound listeners of one source depend on. ``listeners`` are where it dials with explicit capture.

    ``unknown_id`` names what becomes of hosts that the topology does not know: ``deny:...`` drops, ``would-deny:...``
    passes and reports, empty passes. ``deny_id`` names the denial of a known but not approved upstream. ``silent_ports`` are
    those of the whole topology, so that an approval changes a chain and not the listener, whose connections would be drained.
    Another ``generation``, or a later revision in ``revoked`` at a port, ends the HTTP streams that are open to hosts outside:
    their chain stays the same otherwise, and requests are decided on when they begin. Both are empty where all hosts are open.
    """

    capture: str
    listeners: tuple[UpstreamListener, ...]
    upstreams: tuple[Upstream, ...]
    deny_id: str
    unknown_id: str
    silent_ports: tuple[int, ...] = ()
    generation: str = ""
    revoked: Mapping[int, int] = field(default_factory=dict)

    @property
    def drops_unknown(self) -> bool:
        """Whether hosts that nobody knows are out of reach."""
        return self.unknown_id.startswith("deny:")


def resources(shape: Shape, shared: Shared) -> Iterator[Resource]:
    """Listeners and routes."""
    if shape.capture == "redirect":
        yield from _redirected(shape, shared)
    else:
        yield from _explicit(shape)


def _redirected(shape: Shape, shared: Shared) -> Iterator[Resource]:
    built, http_ports = [_loop()], set()
    needs = {(types.CLUSTER, names.BLACKHOLE)}
    apart = list(told_apart(shape.upstreams))
    for upstream, addresses, by_name in apart:
        if by_name or (addresses and (upstream.allowed or not shape.drops_unknown)):
            http_ports.add(upstream.port.number)
            toward = partial(_by_server_name, shape, upstream) if by_name else partial(_by_address, shape, upstream, addresses)
            built += shared.toward(upstream, addresses, toward)
            if upstream.has_tls or not by_name:
                needs.update((types.CLUSTER, name) for name in upstream.clusters)
    # Envoy matches the port first and does not come back: each port in use needs its own chain for other hosts.
    for port in (*sorted(http_ports), None):
        routes = _routes(shape, apart, port)
        needs.add((types.ROUTE, routes.name))
        generation = _generation(shape, port)
        built.append(shared.chain((port, generation), partial(_other_hosts, port, generation)))
        yield routes
    listener = Listener(
        name="outbound",
        address=socket_address("::", REDIRECT_PORT),
        filter_chains=built,
        default_filter_chain=_default(shape),
        listener_filters=shared.filters(shape.silent_ports, partial(_inspectors, shape.silent_ports, original_destination=True)),
        listener_filters_timeout=seconds(INSPECTION_TIMEOUT_SECONDS),
        continue_on_listener_filters_timeout=True,
        enable_reuse_port=boolean(on=False),
    )
    listener.address.socket_address.ipv4_compat = True
    if not shape.drops_unknown:
        needs.add((types.CLUSTER, names.PASSTHROUGH))
    yield resource_of(types.LISTENER, listener.name, listener, needs)


def _generation(shape: Shape, port: int | None) -> str:
    """What closes the connections to hosts outside at a port."""
    revision = shape.revoked.get(port) if port is not None else None
    return shape.generation if revision is None else f"{shape.generation} revoked@r{revision}"


def _other_hosts(port: int | None, generation: str) -> FilterChain:
    """The chain of HTTP to hosts that are known by name, or not at all, at a port or at any that has no chain of its own."""
    match = chains.plain(HTTP_PROTOCOLS)
    if port is not None:
        match.destination_port.value = port
    name = names.egress_route(port)
    manager = chains.http_manager(logging.http_log("out"), routes=name, inbound=False)
    return chains.chain(name, [manager], match, generation=generation)


def _loop() -> FilterChain:
    """Who dials the listener itself would be passed on to it, without end. It is no use of an edge, so no line tells it."""
    match = chains.Match()
    match.destination_port.value = REDIRECT_PORT
    return chains.chain("loop", [chains.tcp_proxy(names.BLACKHOLE)], match)


def _default(shape: Shape) -> FilterChain:
    log = logging.tcp_log("out")
    if shape.drops_unknown:
        return chains.closed(shape.unknown_id, log)
    return chains.chain(shape.unknown_id or "unknown", [chains.tcp_proxy(names.PASSTHROUGH, log)])


def _by_address(shape: Shape, upstream: Upstream, addresses: Sequence[str]) -> Iterator[FilterChain]:
    """Chains for an upstream that is dialled at its own address."""

    def at(match: chains.Match) -> chains.Match:
        match.destination_port.value = upstream.port.number
        for address in addresses:
            match.prefix_ranges.add(address_prefix=address).prefix_len.value = 128 if ":" in address else 32
        return match

    yield from _chains(shape, upstream, f"{upstream.service.name}/{upstream.port.number}", at)


def _by_server_name(shape: Shape, upstream: Upstream) -> Iterator[FilterChain]:
    """A chain for TLS to an external host, known by its SNI; the cluster decides the address, not the application.

    HTTP hosts are in the routes of their port.
    """
    if not upstream.has_tls:
        return
    match = chains.tls()
    match.server_names.append(upstream.host)
    match.destination_port.value = upstream.port.number
    yield _bytes(shape, upstream.opaque, f"{upstream.service.name}/{upstream.port.number}", match)


def _chains(shape: Shape, upstream: Upstream, label: str, at: Callable[[chains.Match], chains.Match]) -> Iterator[FilterChain]:
    """The chains of one upstream by what it speaks; ``at`` adds where it was dialled."""
    how = handling(upstream.port.protocol)
    if not upstream.allowed:
        yield _denied(shape, at(chains.plain(HTTP_PROTOCOLS)), http=True)
        yield _denied(shape, at(chains.plain()), http=False)
        yield _denied(shape, at(chains.tls()), http=False)
        return
    if how is not Handling.OPAQUE:
        inspected = how is Handling.INSPECT
        cluster = upstream.cluster(inspected_http=inspected)
        routes = chains.routes_of(cluster, [(cluster, ["*"], egress.routes_to(upstream, cluster, shape.deny_id))])
        manager = chains.http_manager(logging.http_log("out"), routes=routes, inbound=False)
        match = at(chains.plain(HTTP_PROTOCOLS) if inspected else chains.Match())
        yield chains.chain(upstream.reported or f"{label}/http", [manager], match)
    for match in {Handling.HTTP: (), Handling.OPAQUE: (chains.Match(),), Handling.INSPECT: (chains.plain(), chains.tls())}[how]:
        yield _bytes(shape, upstream.opaque, label, at(match))


def _bytes(shape: Shape, upstream: Upstream, label: str, match: chains.Match) -> FilterChain:
    """The chain of what nobody looks into."""
    if not upstream.allowed:
        return _denied(shape, match, http=False)
    return chains.chain(upstream.reported or label, [chains.tcp_proxy(upstream.cluster(), logging.tcp_log("out"))], match)


def _denied(shape: Shape, match: chains.Match, *, http: bool) -> FilterChain:
    if http:
        routes = chains.routes_of("denied", [("denied", ["*"], chains.refuse(shape.deny_id))])
        manager = chains.http_manager(logging.http_log("out"), routes=routes, inbound=False)
        return chains.chain(shape.deny_id, [manager], match)
    return chains.chain(shape.deny_id, [chains.tcp_proxy(names.BLACKHOLE, logging.tcp_log("out"))], match)


def _routes(shape: Shape, apart: Sequence[tuple[Upstream, tuple[str, ...], bool]], port: int | None) -> Resource:
    """Hosts outside the mesh at one port: approved ones by name, the rest by what the source's mode says."""
    hosts = []
    needs: set[tuple[str, str]] = set()
    for upstream, _, by_name in apart:
        if not by_name or upstream.has_tls or upstream.port.number != port:
            continue
        name = upstream.host
        hosts.append((name, _domains(name, port), egress.routes_to(upstream, upstream.cluster(), shape.deny_id)))
        if upstream.allowed:
            needs.add((types.CLUSTER, upstream.cluster()))
    if shape.drops_unknown:
        rest = chains.refuse(shape.unknown_id)
    else:
        rest = chains.forward(names.PASSTHROUGH, name=shape.unknown_id)
        needs.add((types.CLUSTER, names.PASSTHROUGH))
    hosts.append(("rest", ["*"], rest))
    name = names.egress_route(port)
    return resource_of(types.ROUTE, name, chains.routes_of(name, hosts), needs)


def _domains(host: str, port: int) -> list[str]:
    literal = f"[{host}]" if ":" in host else host
    return [literal, f"{literal}:{port}"]


def _inspectors(silent_ports: Sequence[int], *, original_destination: bool) -> list[ListenerFilter]:
    """Who was dialled, whether it is TLS and for which name, whether it is HTTP."""
    filters = []
    if original_destination:
        filters.append(ListenerFilter(name="envoy.filters.listener.original_dst", typed_config=pack(OriginalDst())))
    for name, config in (("tls_inspector", TlsInspector()), ("http_inspector", HttpInspector())):
        inspector = ListenerFilter(name=f"envoy.filters.listener.{name}", typed_config=pack(config))
        for port in silent_ports:
            rule = inspector.filter_disabled.or_match.rules.add()
            rule.destination_port_range.start = port
            rule.destination_port_range.end = port + 1
        filters.append(inspector)
    return filters


def _explicit(shape: Shape) -> Iterator[Resource]:
    """One loopback listener per upstream port that the topology gives an address."""
    by_port = {(u.service.name, u.port.number): u for u in shape.upstreams}
    for listen in shape.listeners:
        upstream = by_port.get((listen.service, listen.port))
        if upstream is None:
            continue
        listener = Listener(
            name=f"outbound/{listen.address}/{listen.listen_port}",  # by what it binds, as inbound
            address=socket_address(listen.address, listen.listen_port),
            filter_chains=list(_explicit_chains(shape, upstream)),
            listener_filters_timeout=seconds(INSPECTION_TIMEOUT_SECONDS),
            continue_on_listener_filters_timeout=True,
            enable_reuse_port=boolean(on=False),
        )
        if handling(upstream.port.protocol) is Handling.INSPECT or upstream.has_tls:
            listener.listener_filters.extend(_inspectors((), original_destination=False))
        reached = upstream.clusters
        if not upstream.opaque.allowed and handling(upstream.port.protocol) is not Handling.HTTP:  # HTTP is answered with a 403
            reached = [*reached, names.BLACKHOLE]
        yield resource_of(types.LISTENER, listener.name, listener, {(types.CLUSTER, name) for name in reached})


def _explicit_chains(shape: Shape, upstream: Upstream) -> Iterator[FilterChain]:
    """The same chains, but for the look at the first bytes where the declared protocol says all."""
    how = handling(upstream.port.protocol)
    if not upstream.allowed and how is not Handling.INSPECT:
        yield _denied(shape, chains.Match(), http=how is Handling.HTTP)
        return
    yield from _chains(shape, upstream, f"{upstream.service.name}/{upstream.port.number}", lambda match: match)
