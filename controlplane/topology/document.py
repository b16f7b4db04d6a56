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
    is_ip_address,
    parse_service_name,
)

MAX_FILE_BYTES = 8 * 1024 * 1024
MAX_SERVICES = 10_000
_NAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?\Z")
_PROTOCOL = re.compile(r"[a-z][a-z0-9-]{0,31}\Z")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class TopologyError(ValueError):
    """What is wrong in a topology file, and where: ``file:line: key: what``."""


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
    try:
        root = yaml.compose(text.decode("utf-8"), Loader=_LOADER)
    except UnicodeDecodeError as error:
        raise TopologyError(f"{file}: not UTF-8 text: {error.reason} at byte {error.start}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f":{mark.line + 1}" if mark is not None else ""
        raise TopologyError(f"{file}{where}: not YAML: {getattr(error, 'problem', None) or error}") from error
    except RecursionError as error:
        raise TopologyError(f"{file}: nested too deeply") from error
    if root is None:
        raise TopologyError(f"{file}:1: services: is missing; the file is empty")
    return _Reader(file).document(root)


class _Reader:
    """Walks YAML nodes, which know their line."""

    def __init__(self, file: str) -> None:
        self._file = file

    def fail(self, node: yaml.Node, key: str, what: str) -> TopologyError:
        return TopologyError(f"{self._file}:{node.start_mark.line + 1}: {key}: {what}")

    def document(self, root: yaml.Node) -> TopologyDocument:
        top = self._mapping(root, "the file")
        services: dict[ServiceName, Service] = {}
        nodes = self._sequence(self._required(top, root, "services"), "services")
        if len(nodes) > MAX_SERVICES:
            raise self.fail(root, "services", f"more than {MAX_SERVICES}")
        for index, node in enumerate(nodes):
            service = self._service(node, f"services[{index}]")
            if service.name in services:
                raise self.fail(node, f"services[{index}].name", f"{service.name} is there twice")
            services[service.name] = service
        edges: dict[tuple[ServiceName, ServiceName, int], ExpectedEdge] = {}
        if "edges" in top:
            for index, node in enumerate(self._sequence(top["edges"], "edges")):
                edge = self._edge(node, f"edges[{index}]", services)
                key = (edge.source, edge.destination, edge.port)
                if key in edges:
                    edge = ExpectedEdge(*key, edge.protocol, (*edges[key].requests, *edge.requests))
                edges[key] = edge
        for key in ("source", "notes"):
            if key in top:
                for index, node in enumerate(self._sequence(top[key], key)):
                    self._text(node, f"{key}[{index}]")
        return TopologyDocument(Topology(services), tuple(edges.values()))

    def _service(self, node: yaml.Node, where: str) -> Service:
        fields = self._mapping(node, where)
        name = self._name(self._required(fields, node, "name", where), f"{where}.name")
        namespace = self._name(fields["namespace"], f"{where}.namespace") if "namespace" in fields else "default"
        kind_node = self._required(fields, node, "kind", where)
        kind_text = self._text(kind_node, f"{where}.kind")
        if kind_text not in set(Kind):
            raise self.fail(kind_node, f"{where}.kind", f"{kind_text!r} is not one of {', '.join(Kind)}")
        target = self._port_number(fields["target_port"], f"{where}.target_port") if "target_port" in fields else None
        ports_node = self._required(fields, node, "ports", where)
        ports: dict[int, Port] = {}
        for index, port_node in enumerate(self._sequence(ports_node, f"{where}.ports")):
            port = self._port(port_node, f"{where}.ports[{index}]", target)
            if port.number in ports:
                raise self.fail(port_node, f"{where}.ports[{index}].port", f"{port.number} is there twice")
            ports[port.number] = port
        capture = self._text(fields["capture"], f"{where}.capture") if "capture" in fields else "redirect"
        if capture not in {"redirect", "explicit"}:
            raise self.fail(fields["capture"], f"{where}.capture", "redirect or explicit")
        application = None
        if "application" in fields:
            application = self._address(fields["application"], f"{where}.application")
        return Service(
            name=ServiceName(namespace, name),
            kind=Kind(kind_text),
            ports=tuple(ports.values()),
            addresses=tuple(self._addresses(fields, "addresses", where)),
            endpoints=tuple(self._addresses(fields, "endpoints", where)),
            application=application,
            capture=capture,
            upstream_listeners=tuple(self._listeners(fields, where)),
        )

    def _addresses(self, fields: dict[str, yaml.Node], key: str, where: str) -> Iterable[str]:
        if key in fields:
            for index, node in enumerate(self._sequence(fields[key], f"{where}.{key}")):
                yield self._address(node, f"{where}.{key}[{index}]")

    def _listeners(self, fields: dict[str, yaml.Node], where: str) -> Iterable[UpstreamListener]:
        if "upstreams" not in fields:
            return
        for index, node in enumerate(self._sequence(fields["upstreams"], f"{where}.upstreams")):
            here = f"{where}.upstreams[{index}]"
            item = self._mapping(node, here)
            service = self._service_name(self._required(item, node, "service", here), f"{here}.service")
            port = self._port_number(self._required(item, node, "port", here), f"{here}.port")
            listen_node = self._required(item, node, "listen", here)
            address, _, number = self._text(listen_node, f"{here}.listen").rpartition(":")
            if not is_ip_address(address) or not number.isdigit() or not 0 < int(number) < 65536:
                raise self.fail(listen_node, f"{here}.listen", "address:port is wanted, e.g. 127.0.0.1:17070")
            yield UpstreamListener(service, port, address, int(number))

    def _port(self, node: yaml.Node, where: str, target: int | None) -> Port:
        fields = self._mapping(node, where)
        number = self._port_number(self._required(fields, node, "port", where), f"{where}.port")
        protocol = self._protocol(self._required(fields, node, "protocol", where), f"{where}.protocol")
        own = self._port_number(fields["target_port"], f"{where}.target_port") if "target_port" in fields else target
        return Port(number, protocol, own or number)

    def _edge(self, node: yaml.Node, where: str, services: dict[ServiceName, Service]) -> ExpectedEdge:
        fields = self._mapping(node, where)
        ends = []
        for key in ("from", "to"):
            end_node = self._required(fields, node, key, where)
            ends.append(self._known_service(end_node, f"{where}.{key}", services))
        port = self._port_number(self._required(fields, node, "port", where), f"{where}.port")
        protocol = self._protocol(self._required(fields, node, "protocol", where), f"{where}.protocol")
        destination = services[ends[1]]
        if destination.port(port) is None:
            # An edge is as good a statement that a port exists as the service's own list.
            services[ends[1]] = replace(destination, ports=(*destination.ports, Port(port, protocol, port)))
        requests = []
        if "requests" in fields:
            for index, item in enumerate(self._sequence(fields["requests"], f"{where}.requests")):
                requests.append(self._request(item, f"{where}.requests[{index}]"))
        return ExpectedEdge(ends[0], ends[1], port, protocol, tuple(requests))

    def _request(self, node: yaml.Node, where: str) -> ExpectedRequest:
        fields = self._mapping(node, where)
        method = self._text(self._required(fields, node, "method", where), f"{where}.method")
        path_node = self._required(fields, node, "path", where)
        path = self._text(path_node, f"{where}.path")
        if not path.startswith("/"):
            raise self.fail(path_node, f"{where}.path", "a path starts with '/'")
        return ExpectedRequest(method, path)

    def _mapping(self, node: yaml.Node, where: str) -> dict[str, yaml.Node]:
        if not isinstance(node, yaml.MappingNode):
            raise self.fail(node, where, "a mapping is wanted")
        found: dict[str, yaml.Node] = {}
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode):
                raise self.fail(key, where, "keys are plain texts")
            if key.value in found:
                raise self.fail(key, f"{where}.{key.value}", "is there twice")
            found[key.value] = value
        return found

    def _required(self, fields: dict[str, yaml.Node], node: yaml.Node, key: str, where: str = "") -> yaml.Node:
        if key not in fields:
            raise self.fail(node, f"{where}.{key}" if where else key, "is missing")
        return fields[key]

    def _sequence(self, node: yaml.Node, where: str) -> list[yaml.Node]:
        if not isinstance(node, yaml.SequenceNode):
            raise self.fail(node, where, "a list is wanted")
        return list(node.value)

    def _text(self, node: yaml.Node, where: str) -> str:
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:str":
            raise self.fail(node, where, "a text is wanted")
        if len(node.value) > 4096:
            raise self.fail(node, where, "longer than 4096 characters")
        return str(node.value)

    def _name(self, node: yaml.Node, where: str) -> str:
        text = self._text(node, where)
        if not _NAME.match(text):
            raise self.fail(node, where, f"{text[:80]!r} is not a name: 1-63 letters, digits, '.', '_' or '-'")
        return text

    def _service_name(self, node: yaml.Node, where: str) -> ServiceName:
        text = self._text(node, where)
        try:
            return parse_service_name(text)
        except ValueError as error:
            raise self.fail(node, where, str(error)) from error

    def _known_service(self, node: yaml.Node, where: str, services: dict[ServiceName, Service]) -> ServiceName:
        """A service by its full name, or by its bare name where only one namespace has it."""
        name = self._service_name(node, where)
        if name in services:
            return name
        same = [known for known in services if known.name == name.name] if "/" not in str(node.value) else []
        if len(same) == 1:
            return same[0]
        what = f"is in several namespaces; write one of {', '.join(map(str, same))}" if same else "is not among the services"
        raise self.fail(node, where, f"{name} {what}")

    def _protocol(self, node: yaml.Node, where: str) -> str:
        text = self._text(node, where)
        if not _PROTOCOL.match(text):
            raise self.fail(node, where, f"{text[:80]!r} is not a protocol name: lower-case letters, digits and '-'")
        return text

    def _address(self, node: yaml.Node, where: str) -> str:
        text = self._text(node, where)
        if not is_ip_address(text):
            raise self.fail(node, where, f"{text[:80]!r} is not an IP address")
        return text

    def _port_number(self, node: yaml.Node, where: str) -> int:
        if not isinstance(node, yaml.ScalarNode) or node.tag != "tag:yaml.org,2002:int":
            raise self.fail(node, where, "a port number is wanted")
        if not re.fullmatch(r"\d{1,5}", node.value) or not 0 < int(node.value) < 65536:
            raise self.fail(node, where, f"{node.value[:20]} is not a port number: 1 to 65535")
        return int(node.value)
