"""Reads topology files: services, ports and, for demos and tests, the edges that a set of services is known to have.

Wrong input is told with file, line and key. Keys that are not known are kept out, never interpreted.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path

import yaml

from controlplane.topology.model import (
    Kind,
    Port,
    Service,
    ServiceName,
    Topology,
    UpstreamListener,
    canonical_address,
    parse_service_name,
)
from controlplane.topology.nodes import Nodes, TopologyError, compose

__all__ = ["ExpectedEdge", "ExpectedRequest", "TopologyDocument", "TopologyError", "load_topology", "parse_topology"]

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_SERVICES = 10_000
MAX_PORTS = 1_000
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\Z")
_PROTOCOL = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
_METHOD = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,64}\Z")
_PATH = re.compile(r"/[^\s\x00-\x1f\x7f]*\Z")


@dataclass(frozen=True, slots=True)
class ExpectedRequest:
    """A request that an edge is known to make; the path may hold ``{name}`` and ``*``."""

    method: str
    path: str


@dataclass(frozen=True, slots=True)
class ExpectedEdge:
    """An edge that the file says exists."""

    source: ServiceName
    destination: ServiceName
    port: int
    protocol: str
    requests: tuple[ExpectedRequest, ...] = ()


@dataclass(frozen=True, slots=True)
class TopologyDocument:
    """A file's content."""

    topology: Topology
    edges: tuple[ExpectedEdge, ...]


def load_topology(path: Path) -> TopologyDocument:
    """Read a topology file.

    Raises:
        TopologyError: unreadable, too large, not YAML, or not of the format.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MAX_FILE_BYTES + 1)
    except OSError as error:
        raise TopologyError(f"{path}: cannot be read: {error.strerror}") from error
    if len(text) > MAX_FILE_BYTES:
        raise TopologyError(f"{path}: larger than {MAX_FILE_BYTES} bytes")
    return parse_topology(text, str(path))


def parse_topology(text: bytes, file: str) -> TopologyDocument:
    """Read a topology document; ``file`` is what errors call it.

    Raises:
        TopologyError: not YAML, or not of the format.
    """
    return _Reader(file).document(compose(text, file))


class _Reader:
    """Turns nodes into services and edges."""

    def __init__(self, file: str) -> None:
        self._nodes = Nodes(file)
        self._services: dict[ServiceName, Service] = {}
        self._by_bare_name: dict[str, list[ServiceName]] = {}

    def document(self, root: yaml.Node) -> TopologyDocument:
        nodes = self._nodes
        top = nodes.mapping(root, "the file")
        upstreams: list[tuple[ServiceName, yaml.Node, str]] = []
        for node, where in nodes.sequence(nodes.required(top, root, "services"), "services", MAX_SERVICES):
            service = self._service(node, where)
            if service.name in self._services:
                raise nodes.fail(node, f"{where}.name", f"{service.name} is there twice")
            self._services[service.name] = service
            self._by_bare_name.setdefault(service.name.name, []).append(service.name)
            upstreams.append((service.name, node, where))
        for name, node, where in upstreams:
            self._services[name] = replace(self._services[name], upstream_listeners=tuple(self._listeners(node, where)))
        edges = self._edges(top["edges"]) if "edges" in top else ()
        for key in ("source", "notes"):
            if key in top:
                for node, where in nodes.sequence(top[key], key):
                    nodes.text(node, where)
        return TopologyDocument(Topology(self._services), tuple(edges))

    def _service(self, node: yaml.Node, where: str) -> Service:
        nodes = self._nodes
        fields = nodes.mapping(node, where)
        name_node = nodes.required(fields, node, "name", where)
        namespace = self._name(fields["namespace"], f"{where}.namespace") if "namespace" in fields else "default"
        kind_node = nodes.required(fields, node, "kind", where)
        kind = nodes.text(kind_node, f"{where}.kind")
        if kind not in set(Kind):
            raise nodes.fail(kind_node, f"{where}.kind", f"{kind[:80]!r} is not one of {', '.join(Kind)}")
        name = self._host(name_node, f"{where}.name") if kind == Kind.EXTERNAL else self._name(name_node, f"{where}.name")
        target = nodes.port_number(fields["target_port"], f"{where}.target_port") if "target_port" in fields else None
        ports_node = nodes.required(fields, node, "ports", where)
        ports: dict[int, Port] = {}
        for port_node, here in nodes.sequence(ports_node, f"{where}.ports", MAX_PORTS):
            port = self._port(port_node, here, target)
            if port.number in ports:
                raise nodes.fail(port_node, f"{here}.port", f"{port.number} is there twice")
            ports[port.number] = port
        capture = nodes.text(fields["capture"], f"{where}.capture") if "capture" in fields else "redirect"
        if capture not in {"redirect", "explicit"}:
            raise nodes.fail(fields["capture"], f"{where}.capture", "redirect or explicit")
        return Service(
            name=ServiceName(namespace, name),
            kind=Kind(kind),
            ports=tuple(ports.values()),
            addresses=tuple(self._addresses(fields, "addresses", where)),
            endpoints=tuple(self._addresses(fields, "endpoints", where)),
            application=nodes.address(fields["application"], f"{where}.application") if "application" in fields else None,
            capture=capture,
        )

    def _addresses(self, fields: dict[str, yaml.Node], key: str, where: str) -> Iterable[str]:
        if key not in fields:
            return ()
        found = [self._nodes.address(node, here) for node, here in self._nodes.sequence(fields[key], f"{where}.{key}")]
        return dict.fromkeys(found)

    def _listeners(self, service: yaml.Node, where: str) -> Iterable[UpstreamListener]:
        """A service's ``upstreams``; read when all services are known."""
        nodes = self._nodes
        fields = nodes.mapping(service, where)
        taken: set[tuple[str, int]] = set()
        for node, here in nodes.sequence(fields["upstreams"], f"{where}.upstreams") if "upstreams" in fields else ():
            item = nodes.mapping(node, here)
            name = self._known_service(nodes.required(item, node, "service", here), f"{here}.service")
            port = nodes.port_number(nodes.required(item, node, "port", here), f"{here}.port")
            listen_node = nodes.required(item, node, "listen", here)
            host, _, number = nodes.text(listen_node, f"{here}.listen").rpartition(":")
            address = canonical_address(host.removeprefix("[").removesuffix("]"))
            if address is None or not re.fullmatch(r"[0-9]{1,5}", number) or not 0 < int(number) < 65536:
                raise nodes.fail(listen_node, f"{here}.listen", "address:port is wanted, e.g. 127.0.0.1:17070")
            if (address, int(number)) in taken:
                raise nodes.fail(listen_node, f"{here}.listen", f"{address}:{number} is there twice")
            taken.add((address, int(number)))
            yield UpstreamListener(name, port, address, int(number))

    def _port(self, node: yaml.Node, where: str, target: int | None) -> Port:
        nodes = self._nodes
        fields = nodes.mapping(node, where)
        number = nodes.port_number(nodes.required(fields, node, "port", where), f"{where}.port")
        protocol = self._protocol(nodes.required(fields, node, "protocol", where), f"{where}.protocol")
        own = nodes.port_number(fields["target_port"], f"{where}.target_port") if "target_port" in fields else target
        return Port(number, protocol, own or number)

    def _edges(self, node: yaml.Node) -> Iterable[ExpectedEdge]:
        """Edges in order; those with the same ends and port are one, with the requests of all."""
        protocols: dict[tuple[ServiceName, ServiceName, int], str] = {}
        requests: dict[tuple[ServiceName, ServiceName, int], list[ExpectedRequest]] = {}
        for item, where in self._nodes.sequence(node, "edges"):
            edge = self._edge(item, where)
            key = (edge.source, edge.destination, edge.port)
            protocols.setdefault(key, edge.protocol)
            requests.setdefault(key, []).extend(edge.requests)
        return [ExpectedEdge(*key, protocol, tuple(requests[key])) for key, protocol in protocols.items()]

    def _edge(self, node: yaml.Node, where: str) -> ExpectedEdge:
        nodes = self._nodes
        fields = nodes.mapping(node, where)
        source = self._known_service(nodes.required(fields, node, "from", where), f"{where}.from")
        to_node = nodes.required(fields, node, "to", where)
        name = self._known_service(to_node, f"{where}.to")
        port = nodes.port_number(nodes.required(fields, node, "port", where), f"{where}.port")
        protocol = self._protocol(nodes.required(fields, node, "protocol", where), f"{where}.protocol")
        destination = self._services[name]
        if destination.port(port) is None:
            # An edge is as good a statement that a port exists as the service's own list.
            if len(destination.ports) >= MAX_PORTS:
                raise nodes.fail(to_node, f"{where}.port", f"{name} has {MAX_PORTS} ports already")
            self._services[name] = replace(destination, ports=(*destination.ports, Port(port, protocol, port)))
        requests: list[ExpectedRequest] = []
        if "requests" in fields:
            requests += [self._request(item, here) for item, here in nodes.sequence(fields["requests"], f"{where}.requests")]
        return ExpectedEdge(source, name, port, protocol, tuple(requests))

    def _request(self, node: yaml.Node, where: str) -> ExpectedRequest:
        nodes = self._nodes
        fields = nodes.mapping(node, where)
        method = nodes.matching(nodes.required(fields, node, "method", where), f"{where}.method", _METHOD, "an HTTP method")
        path_node = nodes.required(fields, node, "path", where)
        path = nodes.matching(path_node, f"{where}.path", _PATH, "a path: it starts with '/' and has no spaces")
        return ExpectedRequest(method, path)

    def _name(self, node: yaml.Node, where: str) -> str:
        return self._nodes.matching(node, where, _NAME, "a name: 1-63 letters, digits, '.', '_' or '-'")

    def _host(self, node: yaml.Node, where: str) -> str:
        """A host outside the mesh needs no identity, so its name may be longer, or an address."""
        text = self._nodes.text(node, where)
        return canonical_address(text) or self._nodes.matching(node, where, _HOST, "a host name or an IP address")

    def _protocol(self, node: yaml.Node, where: str) -> str:
        return self._nodes.matching(node, where, _PROTOCOL, "a protocol name: lower-case letters, digits and '-'")

    def _known_service(self, node: yaml.Node, where: str) -> ServiceName:
        """A service by its full name, or by its bare name where only one namespace has it."""
        text = self._nodes.text(node, where)
        try:
            name = parse_service_name(text)
        except ValueError as error:
            raise self._nodes.fail(node, where, str(error)) from error
        if name in self._services:
            return name
        same = [] if "/" in text else self._by_bare_name.get(text, [])
        if len(same) == 1:
            return same[0]
        listed = ", ".join(map(str, same[:5]))
        what = f"is in several namespaces; write one of {listed}" if same else "is not among the services"
        raise self._nodes.fail(node, where, f"{name} {what}")
