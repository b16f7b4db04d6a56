"""What a sidecar lets in: inbound listeners, their allow-lists and handshake lists. Never decides outbound traffic.

An HTTP port decides per request. An opaque port decides in the TLS handshake, because a server that speaks first would
otherwise greet a denied peer (design decision 11).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from envoy.config.core.v3 import address_pb2, base_pb2
from envoy.config.listener.v3 import listener_components_pb2, listener_pb2
from envoy.extensions.filters.listener.http_inspector.v3 import http_inspector_pb2
from envoy.extensions.filters.listener.original_dst.v3 import original_dst_pb2
from envoy.extensions.filters.listener.tls_inspector.v3 import tls_inspector_pb2

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import DenyId, Reason
from controlplane.policy.rules import Mode, ServicePolicy
from controlplane.topology.model import Port, Service
from controlplane.topology.protocol import Handling, handling
from controlplane.xds import chains, clusters, logging, names, tls, types
from controlplane.xds.allowlist import AllowList, AllowListBuilder, Filter, allow_list_of
from controlplane.xds.message import boolean, pack, seconds, socket_address
from controlplane.xds.snapshot import Resource, resource_of

REDIRECT_PORT = 15006
#: How long a listener waits for a client's first bytes before it takes the chain for those that stay silent.
INSPECTION_TIMEOUT_SECONDS = 1.0


@dataclass(frozen=True, slots=True)
class Shape:
    """What the inbound listeners of a service depend on. Allow-lists are not in it: they travel by ECDS and SDS."""

    service: Service
    open_to_plaintext: bool
    closed_id: str
    plaintext_networks: tuple[tuple[int, tuple[str, ...]], ...]
    generations: tuple[tuple[int, int], ...]


def shape_of(service: Service, policy: ServicePolicy, mode: Mode) -> Shape:
    """The part of a policy that shows in listeners."""
    open_to_plaintext = mode in {Mode.LEARN, Mode.AUDIT}
    networks: dict[int, set[str]] = {}
    if mode is Mode.ENFORCE:
        for rule in policy.rules:
            if not isinstance(rule.source, WorkloadId):
                networks.setdefault(rule.port, set()).add(rule.source.cidr)
    reason = Reason.QUARANTINE if mode is Mode.QUARANTINE else Reason.NOT_LISTED
    return Shape(
        service=service,
        open_to_plaintext=open_to_plaintext,
        closed_id="" if open_to_plaintext else str(DenyId(service.name, policy.revision, reason)),
        plaintext_networks=tuple(sorted((port, tuple(sorted(cidrs))) for port, cidrs in networks.items())),
        generations=tuple(sorted(policy.revoked.items())),
    )


def listeners(shape: Shape) -> Iterator[Resource]:
    """One listener for everything that was redirected, or one per port where the sidecar stands at an address of its own."""
    service = shape.service
    if service.capture == "redirect":
        built = [chain for port in service.ports for chain in _chains(shape, port)]
        listener = _listener("inbound", shape, built, [socket_address("::", REDIRECT_PORT)])
        listener.address.socket_address.ipv4_compat = True
        original = listener_components_pb2.ListenerFilter(
            name="envoy.filters.listener.original_dst", typed_config=pack(original_dst_pb2.OriginalDst())
        )
        listener.listener_filters.insert(0, original)
        if shape.open_to_plaintext:
            passthrough = chains.tcp_proxy(names.PASSTHROUGH, logging.tcp_log("in", str(service.name)))
            listener.default_filter_chain.CopyFrom(chains.chain("undeclared", [passthrough]))
        yield _resource(listener, [port for port in service.ports])
        return
    for port in service.ports:
        addresses = [socket_address(endpoint, port.target) for endpoint in service.endpoints]
        if addresses:
            yield _resource(_listener(f"inbound/{port.number}", shape, list(_chains(shape, port)), addresses), [port])


def _listener(
    name: str,
    shape: Shape,
    built: list[listener_components_pb2.FilterChain],
    addresses: list[address_pb2.Address],
) -> listener_pb2.Listener:
    service = str(shape.service.name)
    listener = listener_pb2.Listener(
        name=name,
        address=addresses[0],
        filter_chains=built,
        listener_filters_timeout=seconds(INSPECTION_TIMEOUT_SECONDS),
        continue_on_listener_filters_timeout=True,
        access_log=[logging.handshake_log(service)],
        enable_reuse_port=boolean(False),
        traffic_direction=base_pb2.INBOUND,  # a sidecar that drains closes these first
    )
    for address in addresses[1:]:
        listener.additional_addresses.add(address=address)
    listener.listener_filters.append(
        listener_components_pb2.ListenerFilter(
            name="envoy.filters.listener.tls_inspector", typed_config=pack(tls_inspector_pb2.TlsInspector())
        )
    )
    if shape.open_to_plaintext and any(handling(p.protocol) is Handling.INSPECT for p in shape.service.ports):
        listener.listener_filters.append(
            listener_components_pb2.ListenerFilter(
                name="envoy.filters.listener.http_inspector", typed_config=pack(http_inspector_pb2.HttpInspector())
            )
        )
    if shape.closed_id:
        listener.default_filter_chain.CopyFrom(chains.closed(shape.closed_id, logging.tcp_log("in", service)))
    return listener


def _resource(listener: listener_pb2.Listener, ports: list[Port]) -> Resource:
    needs: set[tuple[str, str]] = set()
    for name in _mentioned_filters(listener):
        needs.add((types.EXTENSION, name))
    for port in ports:
        if any(chain.name == f"{port.number}/mtls/tcp" for chain in listener.filter_chains):
            needs.add((types.SECRET, names.peers(port.number)))
        if any(chain.name == f"{port.number}/mtls/http" for chain in listener.filter_chains):
            needs.add((types.SECRET, tls.BUNDLE))
    return resource_of(types.LISTENER, listener.name, listener, needs)


def _mentioned_filters(listener: listener_pb2.Listener) -> Iterator[str]:
    for chain in listener.filter_chains:
        port, authentication, kind = chain.name.split("/")
        yield names.allow_list(int(port), http=kind == "http", plaintext=authentication == "plaintext")


def _chains(shape: Shape, port: Port) -> Iterator[listener_components_pb2.FilterChain]:
    how = handling(port.protocol)
    if how is not Handling.OPAQUE:
        yield _chain(shape, port, http=True, alpn=tls.ALPN_HTTP if how is Handling.INSPECT else tls.ALPN)
    if how is not Handling.HTTP:
        yield _chain(shape, port, http=False, alpn=tls.ALPN)
    networks = dict(shape.plaintext_networks).get(port.number, ())
    if shape.open_to_plaintext or networks:
        yield _chain(shape, port, http=how is Handling.HTTP, networks=networks)
        if how is Handling.INSPECT:
            yield _chain(shape, port, http=True, networks=networks, protocols=("http/1.0", "http/1.1", "h2c"))


def _chain(
    shape: Shape,
    port: Port,
    *,
    http: bool,
    alpn: str | None = None,
    networks: tuple[str, ...] = (),
    protocols: tuple[str, ...] = (),
) -> listener_components_pb2.FilterChain:
    service = str(shape.service.name)
    plaintext = alpn is None
    match = chains.Match(application_protocols=protocols if alpn is None else [alpn])
    if shape.service.capture == "redirect":
        match.destination_port.value = port.target
    if not plaintext:
        match.transport_protocol = "tls"
    elif http:
        match.transport_protocol = "raw_buffer"
    for cidr in networks:
        address, _, length = cidr.partition("/")
        match.source_prefix_ranges.add(address_prefix=address).prefix_len.value = int(length)
    name = names.allow_list(port.number, http=http, plaintext=plaintext)
    cluster = names.application_cluster(port.number)
    generation = dict(shape.generations).get(port.number, 0)
    if http:
        log = logging.http_log("in", service, port.number)
        filters = [chains.http_manager(log, routes=chains.route_to(cluster), allow_list=name, inbound=True)]
        socket = None if plaintext else tls.downstream(tls.BUNDLE)
        return chains.chain(f"{port.number}/{'plaintext' if plaintext else 'mtls'}/http", filters, match, socket)
    log = logging.tcp_log("in", service, port.number)
    filters = [chains.network_allow_list(name), chains.tcp_proxy(cluster, log, after_handshake=not plaintext)]
    socket = None if plaintext else tls.downstream(names.peers(port.number))
    kind = f"{port.number}/{'plaintext' if plaintext else 'mtls'}/tcp"
    return chains.chain(kind, filters, match, socket, generation=generation)


def allow_lists(
    shape: Shape, policy: ServicePolicy, mode: Mode, blocked: tuple[WorkloadId, ...], builder: AllowListBuilder
) -> Iterator[Resource]:
    """The ECDS filters that the listeners of this shape ask for."""
    for port in shape.service.ports:
        for chain in _wanted(shape, port):
            http, plaintext = chain
            rules = allow_list_of(policy.rules, port.number, http=http)
            name = names.allow_list(port.number, http=http, plaintext=plaintext)
            yield builder.build(name, _filter(rules, policy, mode, blocked), http=http, plaintext=plaintext)


def _wanted(shape: Shape, port: Port) -> Iterator[tuple[bool, bool]]:
    """(http, plaintext) of each chain of a port."""
    how = handling(port.protocol)
    plaintext = shape.open_to_plaintext or port.number in dict(shape.plaintext_networks)
    for http in (True, False):
        if how is (Handling.OPAQUE if http else Handling.HTTP):
            continue
        yield http, False
        if plaintext:
            yield http, True


def _filter(rules: AllowList, policy: ServicePolicy, mode: Mode, blocked: tuple[WorkloadId, ...]) -> Filter:
    if mode is Mode.QUARANTINE:
        return Filter(AllowList({}, {}), str(DenyId(policy.service, policy.revision, Reason.QUARANTINE)))
    return Filter(
        allow_list=rules,
        deny_id="" if mode is Mode.LEARN else str(DenyId(policy.service, policy.revision)),
        shadow=mode is Mode.AUDIT,
        blocked=blocked,
        blocked_id=str(DenyId(policy.service, policy.revision, Reason.QUARANTINE)) if blocked else "",
    )


def handshake_lists(
    service: Service, policy: ServicePolicy, mode: Mode, blocked: tuple[WorkloadId, ...], trust: tls.Trust
) -> Iterator[Resource]:
    """The SDS validation contexts of opaque ports: exactly the approved peers once the service is enforced."""
    for port in service.ports:
        if handling(port.protocol) is Handling.HTTP:
            continue
        allowed: frozenset[WorkloadId] | None = None
        if mode is Mode.QUARANTINE:
            allowed = frozenset()
        elif mode is Mode.ENFORCE:
            allowed = frozenset(allow_list_of(policy.rules, port.number, http=False).peers) - frozenset(blocked)
        yield tls.peers_secret(names.peers(port.number), trust, allowed)


def application_clusters(service: Service) -> Iterator[Resource]:
    """Where each port's application is."""
    for port in service.ports:
        yield clusters.application(service, port)
