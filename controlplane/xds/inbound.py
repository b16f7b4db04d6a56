"""What a sidecar lets in: inbound listeners and the filter chains of each port. Never decides outbound traffic.

An HTTP port decides per request. An opaque port decides in the TLS handshake, because a server that speaks first would
otherwise greet a denied peer (design decision 11). Plaintext peers are refused by the choice of the chain, unless the mode is
open or a rule names their addresses.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from envoy.config.core.v3.address_pb2 import Address
from envoy.config.core.v3.base_pb2 import INBOUND
from envoy.config.listener.v3.listener_components_pb2 import FilterChain, ListenerFilter
from envoy.config.listener.v3.listener_pb2 import Listener
from envoy.extensions.filters.listener.http_inspector.v3.http_inspector_pb2 import HttpInspector
from envoy.extensions.filters.listener.original_dst.v3.original_dst_pb2 import OriginalDst
from envoy.extensions.filters.listener.tls_inspector.v3.tls_inspector_pb2 import TlsInspector

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import DenyId, Reason
from controlplane.policy.rules import Mode, ServicePolicy
from controlplane.topology.model import Port, Service
from controlplane.topology.protocol import Handling, handling
from controlplane.xds import chains, logging, names, tls, types
from controlplane.xds.lists import EMPTY, AllowList
from controlplane.xds.message import boolean, pack, seconds, socket_address
from controlplane.xds.snapshot import Resource, resource_of

REDIRECT_PORT = 15006
#: How long a listener waits for a client's first bytes before it takes the chain for those that stay silent.
INSPECTION_TIMEOUT_SECONDS = 1.0
HTTP_PROTOCOLS = ("http/1.0", "http/1.1", "h2c")


@dataclass(frozen=True, slots=True)
class PortShape:
    """What the chains of one port depend on.

    ``http_networks`` and ``tcp_networks`` are those from which plaintext peers get as far as the allow-list of their kind, where
    the mode is not open.
    Another ``generation`` closes the connections that the port has.
    """

    port: Port
    http_networks: tuple[str, ...] = ()
    tcp_networks: tuple[str, ...] = ()
    generation: str = ""


@dataclass(frozen=True, slots=True)
class Shape:
    """What the inbound listeners of a service depend on. Allow-lists are not in it: they travel by ECDS and SDS.

    ``default_id`` is the name under which the rest is closed (``deny:``) or passes and is reported (``would-deny:``); empty
    where it just passes.
    """

    service: Service
    ports: tuple[PortShape, ...]
    open_to_plaintext: bool
    default_id: str
    generation: str


def shape_of(
    service: Service, policy: ServicePolicy, lists: dict[int, AllowList], mode: Mode, blocked: Iterable[WorkloadId]
) -> Shape:
    """The part of a policy that shows in listeners."""
    reason = Reason.QUARANTINE if mode is Mode.QUARANTINE else Reason.NOT_LISTED
    deny_id = str(DenyId(service.name, policy.revision, reason))
    barred = frozenset(blocked)
    return Shape(
        service=service,
        ports=tuple(_port_shape(port, policy, lists.get(port.number, EMPTY), mode, barred) for port in ports_of(service)),
        open_to_plaintext=mode in {Mode.LEARN, Mode.AUDIT},
        default_id={Mode.LEARN: "", Mode.AUDIT: f"would-{deny_id}"}.get(mode, deny_id),
        generation=str(mode) if mode is Mode.QUARANTINE else "",
    )


def _port_shape(port: Port, policy: ServicePolicy, allow_list: AllowList, mode: Mode, blocked: frozenset[WorkloadId]) -> PortShape:
    """A port's networks, and what has to close its open TCP connections.

    That is a revocation, the start of enforcement, and the quarantine of a listed peer. HTTP requests obey ECDS at once, so
    HTTP connections stay, but for a quarantine of the service itself.
    """
    http: tuple[str, ...] = ()
    tcp: tuple[str, ...] = ()
    if mode is Mode.ENFORCE:
        http = tuple(sorted(source.cidr for source in allow_list.networks))
        tcp = tuple(sorted(source.cidr for source, matches in allow_list.networks.items() if not matches))
    generation = [f"revoked@r{policy.revoked[port.number]}"] if port.number in policy.revoked else []
    if mode in {Mode.ENFORCE, Mode.QUARANTINE}:
        generation += [str(mode), *(str(peer) for peer in sorted(blocked & allow_list.peers.keys()))]
    return PortShape(port, http, tcp, " ".join(generation))


def ports_of(service: Service) -> tuple[Port, ...]:
    """The ports that a sidecar listens on and can tell apart: of several that lead to one target, the first counts."""
    if service.capture != "redirect" and not service.endpoints:
        return ()
    return tuple({port.target: port for port in reversed(service.ports)}.values())[::-1]


def listeners(shape: Shape) -> Iterator[Resource]:
    """One listener for everything that was redirected, or one per port where the sidecar stands at an address of its own."""
    service = shape.service
    if service.capture == "redirect":
        listener = _listener("inbound", shape, shape.ports, socket_address("::", REDIRECT_PORT))
        listener.address.socket_address.ipv4_compat = True
        listener.listener_filters.insert(0, _listener_filter("original_dst", OriginalDst()))
        if shape.open_to_plaintext:
            passthrough = chains.tcp_proxy(names.UNDECLARED, logging.tcp_log("in", str(service.name)))
            listener.default_filter_chain.CopyFrom(chains.chain(shape.default_id or "undeclared", [passthrough]))
        yield _resource(listener, shape, shape.ports)
        return
    for port in shape.ports:
        for endpoint in service.endpoints:
            # By what it binds: under another name Envoy would bind the address anew while the old listener still has it.
            name = f"inbound/{endpoint}/{port.port.target}"
            yield _resource(_listener(name, shape, (port,), socket_address(endpoint, port.port.target)), shape, (port,))


def _listener(name: str, shape: Shape, ports: tuple[PortShape, ...], address: Address) -> Listener:
    service = str(shape.service.name)
    listener = Listener(
        name=name,
        address=address,
        filter_chains=[chain for port in ports for chain in _chains(shape, port)],
        listener_filters_timeout=seconds(INSPECTION_TIMEOUT_SECONDS),
        continue_on_listener_filters_timeout=True,
        access_log=[logging.handshake_log(service)],
        enable_reuse_port=boolean(on=False),
        traffic_direction=INBOUND,  # a sidecar that drains closes these first
    )
    listener.listener_filters.append(_listener_filter("tls_inspector", TlsInspector()))
    if any(handling(port.port.protocol) is Handling.INSPECT for port in ports):
        listener.listener_filters.append(_listener_filter("http_inspector", HttpInspector()))
    if not shape.open_to_plaintext:
        listener.default_filter_chain.CopyFrom(chains.closed(shape.default_id, logging.tcp_log("in", service)))
    return listener


def _listener_filter(name: str, config: OriginalDst | TlsInspector | HttpInspector) -> ListenerFilter:
    return ListenerFilter(name=f"envoy.filters.listener.{name}", typed_config=pack(config))


def _resource(listener: Listener, shape: Shape, ports: Iterable[PortShape]) -> Resource:
    """The listener with what it refers to."""
    needs: set[tuple[str, str]] = set()
    if not shape.open_to_plaintext:
        needs.add((types.CLUSTER, names.BLACKHOLE))
    elif shape.service.capture == "redirect":
        needs.add((types.CLUSTER, names.UNDECLARED))
    for port in ports:
        number = port.port.number
        needs.add((types.CLUSTER, names.application_cluster(number)))
        for http, plaintext in filters_of(shape, port):
            needs.add((types.EXTENSION, names.allow_list(number, http=http, plaintext=plaintext)))
            if not plaintext:
                needs.add((types.SECRET, tls.BUNDLE if http else names.peers(number)))
    return resource_of(types.LISTENER, listener.name, listener, needs)


class ChainKind(enum.StrEnum):
    """The chains that a port may have, as the log names them behind the port's number."""

    MTLS_HTTP = "mtls/http"
    MTLS_TCP = "mtls/tcp"
    PLAINTEXT_HTTP = "plaintext/http"
    PLAINTEXT_TCP = "plaintext/tcp"
    OWN_TLS = "plaintext/tls"  # of the application: no certificate of this mesh, and nothing to read in it

    @property
    def is_http(self) -> bool:
        """Whether requests are decided on, not connections."""
        return self in {ChainKind.MTLS_HTTP, ChainKind.PLAINTEXT_HTTP}

    @property
    def is_mtls(self) -> bool:
        """Whether the peer proves its name."""
        return self in {ChainKind.MTLS_HTTP, ChainKind.MTLS_TCP}


def kinds_of(shape: Shape, port: PortShape) -> list[ChainKind]:
    """The chains that a port has."""
    how = handling(port.port.protocol)
    kinds: list[ChainKind] = []
    if how is not Handling.OPAQUE:
        kinds.append(ChainKind.MTLS_HTTP)
        kinds += [ChainKind.PLAINTEXT_HTTP] if shape.open_to_plaintext or port.http_networks else []
    if how is not Handling.HTTP:
        kinds.append(ChainKind.MTLS_TCP)
        kinds += [ChainKind.PLAINTEXT_TCP] if shape.open_to_plaintext or port.tcp_networks else []
    return kinds + ([ChainKind.OWN_TLS] if shape.open_to_plaintext or port.tcp_networks else [])


def filters_of(shape: Shape, port: PortShape) -> list[tuple[bool, bool]]:
    """(http, plaintext) of each allow-list that the chains of a port ask for."""
    return sorted({(kind.is_http, not kind.is_mtls) for kind in kinds_of(shape, port)})


def _chains(shape: Shape, port: PortShape) -> Iterator[FilterChain]:
    for kind in kinds_of(shape, port):
        number = port.port.number
        cluster = names.application_cluster(number)
        allow_list = names.allow_list(number, http=kind.is_http, plaintext=not kind.is_mtls)
        if kind.is_http:
            log = logging.http_log("in", str(shape.service.name), number)
            filters = [chains.http_manager(log, routes=chains.route_to(cluster), allow_list=allow_list, inbound=True)]
        else:
            log = logging.tcp_log("in", str(shape.service.name), number)
            filters = [chains.network_allow_list(allow_list), chains.tcp_proxy(cluster, log, after_handshake=kind.is_mtls)]
        socket = tls.downstream(tls.BUNDLE if kind.is_http else names.peers(number)) if kind.is_mtls else None
        generation = shape.generation if kind.is_http else port.generation
        yield chains.chain(f"{number}/{kind}", filters, _match(shape, port, kind), socket, generation)


def _match(shape: Shape, port: PortShape, kind: ChainKind) -> chains.Match:
    inspected = handling(port.port.protocol) is Handling.INSPECT
    if kind.is_mtls:
        match = chains.tls([tls.ALPN_HTTP if inspected and kind.is_http else tls.ALPN])
    elif kind is ChainKind.OWN_TLS:
        match = chains.tls()
    else:
        match = chains.plain(HTTP_PROTOCOLS if inspected and kind.is_http else ())
    if not kind.is_mtls and not shape.open_to_plaintext:
        for cidr in port.http_networks if kind.is_http else port.tcp_networks:
            address, _, length = cidr.partition("/")
            match.source_prefix_ranges.add(address_prefix=address).prefix_len.value = int(length)
    if shape.service.capture == "redirect":
        match.destination_port.value = port.port.target
    return match
