"""Where everything of a demo is: addresses, ports, files. Pure: writes and starts nothing."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

from controlplane.demo.services.protocols import GRPC, HTTP
from controlplane.topology.document import ExpectedEdge, TopologyDocument
from controlplane.topology.model import Kind, Port, Service, ServiceName, UpstreamListener

MAX_SERVICES = 200
#: Applications that nobody declared: they dial with stolen identities, past every sidecar but the destination's.
INTRUDERS = 2
#: Where ports go that applications may not listen on: they are not root.
LOW_PORT_SHIFT = 20_000
_PARAMETER = re.compile(r"\{[^{}]*\}|\*+")


class PlanError(ValueError):
    """A topology that cannot be run here; the message says why."""


@dataclass(frozen=True, slots=True)
class Placed:
    """A service with its place. ``index`` counts from 1."""

    index: int
    service: Service
    directory: Path
    namespace: str

    @property
    def own(self) -> Path:
        """The only directory in which the application may write."""
        return self.directory / "app"

    @property
    def control(self) -> Path:
        """The Unix socket by which the demo tells the application what to do."""
        return self.own / "control.sock"

    @property
    def state(self) -> Path:
        """The sidecar's state directory."""
        return self.directory / "s"

    @property
    def spec(self) -> Path:
        """What the application is to serve."""
        return self.directory / "app.json"

    @property
    def address(self) -> str:
        """The address of its sidecar, or its own where it has none."""
        return self.service.endpoints[0]

    @property
    def bind_address(self) -> str:
        """Where the application listens. In a namespace of its own that is everywhere: nobody else is in it."""
        if self.service.capture == "redirect":
            return "0.0.0.0"  # noqa: S104  # see above
        return self.service.application or self.address

    @property
    def flow_source(self) -> str:
        """Under which name its calls are in the log: its workload, or its address where no sidecar speaks for it."""
        return str(self.service.workload) if self.service.meshed else f"ip:{self.address}"


@dataclass(frozen=True, slots=True)
class Use:
    """One thing to call: a port of a service, and how."""

    source: ServiceName
    destination: ServiceName
    port: int
    protocol: str
    method: str
    path: str


@dataclass(frozen=True, slots=True)
class Plan:
    """The whole demo."""

    capture: str
    document: TopologyDocument
    placed: dict[ServiceName, Placed]
    intruders: tuple[Placed, ...]

    @property
    def meshed(self) -> list[Placed]:
        """Services with a sidecar."""
        return [place for place in self.placed.values() if place.service.meshed]

    @property
    def everybody(self) -> list[Placed]:
        """Everything that runs."""
        return [*self.placed.values(), *self.intruders]

    def expected(self) -> Iterator[Use]:
        """Every request that the topology declares."""
        for edge in self.document.edges:
            port = self.placed[edge.destination].service.port(edge.port)
            protocol = port.protocol if port else edge.protocol
            for method, path in _requests(edge, protocol):
                yield Use(edge.source, edge.destination, edge.port, protocol, method, path)

    def unexpected(self) -> Iterator[Use]:
        """Every port of every service, from every service that is not declared to call it."""
        declared = {(edge.source, edge.destination, edge.port) for edge in self.document.edges}
        for source in self.meshed:
            for target in self.placed.values():
                if target is source:
                    continue
                for port in target.service.ports:
                    if (source.service.name, target.service.name, port.number) not in declared:
                        method, path = _DEFAULTS.get(port.protocol, ("", ""))
                        yield Use(source.service.name, target.service.name, port.number, port.protocol, method, path)

    def every_port(self) -> Iterator[Use]:
        """Every port behind a sidecar, as nobody in particular would call it. The source is the destination itself."""
        for target in self.meshed:
            for port in target.service.ports:
                method, path = _DEFAULTS.get(port.protocol, ("", ""))
                yield Use(target.service.name, target.service.name, port.number, port.protocol, method, path)

    def dialled(self, use: Use) -> tuple[str, int]:
        """Where the source's application dials."""
        source, target = self.placed[use.source].service, self.placed[use.destination].service
        for listener in source.upstream_listeners:
            if listener.service == use.destination and listener.port == use.port:
                return listener.address, listener.listen_port
        if not source.meshed:
            return self.endpoint(use)
        return target.addresses[0], use.port

    def endpoint(self, use: Use) -> tuple[str, int]:
        """Where the destination's sidecar (or the server outside the mesh) listens."""
        target = self.placed[use.destination]
        port = target.service.port(use.port)
        return target.address, port.target if port else use.port

    def listening(self) -> Iterator[tuple[str, int, str]]:
        """Every address and port at which something of the demo is going to listen, and whose it is."""
        for place in self.placed.values():
            name = str(place.service.name)
            for port in place.service.ports:
                yield from ((address, port.target, name) for address in dict.fromkeys((place.address, place.bind_address)))
            for listener in place.service.upstream_listeners:
                yield listener.address, listener.listen_port, f"{name} to call {listener.service}"


#: What is asked of a port for which nothing is declared.
_DEFAULTS = {GRPC: ("POST", "/picket.demo.Probe/Call"), **dict.fromkeys(HTTP, ("GET", "/"))}


def _requests(edge: ExpectedEdge, protocol: str) -> list[tuple[str, str]]:
    if protocol not in _DEFAULTS or not edge.requests:
        return [_DEFAULTS.get(protocol, ("", ""))]
    return [(request.method, _PARAMETER.sub("1", request.path)) for request in edge.requests]


def make_plan(document: TopologyDocument, directory: Path, capture: str, run: str, lowest_port: int) -> Plan:
    """Give every service its addresses and files. ``lowest_port`` is the first on which an application may listen.

    Raises:
        PlanError: no services, or too many, or an edge that cannot be shown.
    """
    services = list(document.topology.services.values())
    if not 0 < len(services) <= MAX_SERVICES:
        raise PlanError(f"the demo runs 1 to {MAX_SERVICES} services; this topology has {len(services)}")
    placed = {}
    services = [replace(service, ports=_distinct_ports(service, lowest_port)) for service in services]
    for index, service in enumerate(services, 1):
        located = _redirected(index, service) if capture == "redirect" else _explicit(index, service, services, lowest_port)
        placed[service.name] = Placed(index, located, directory / f"{index:03d}", f"{run}-{index}")
    intruders = tuple(_intruder(len(services) + number, directory, capture, run) for number in range(1, INTRUDERS + 1))
    return Plan(capture, document, placed, intruders)


def _intruder(index: int, directory: Path, capture: str, run: str) -> Placed:
    address = f"10.211.{index // 250}.{index % 250 + 2}" if capture == "redirect" else f"127.77.{index // 250}.{index % 250 + 2}"
    service = Service(ServiceName("intruder", str(index)), Kind.EXTERNAL, (), (address,), (address,), None, capture)
    return Placed(index, service, directory / f"{index:03d}", f"{run}-{index}")


def _distinct_ports(service: Service, low: int) -> tuple[Port, ...]:
    """The service's ports with targets that can be had: not below ``low``, and none twice, so that the ports can be told apart."""
    found: list[Port] = []
    for port in service.ports:
        target = port.target if port.target >= low else port.target + LOW_PORT_SHIFT
        while any(target == other.target for other in found):
            target = target % 65535 + 1
        found.append(replace(port, target=target))
    return tuple(found)


def _redirected(index: int, service: Service) -> Service:
    """One namespace each; clients dial a virtual address, as they do a cluster IP."""
    own = f"10.211.{index // 250}.{index % 250 + 2}"
    dialled = own if service.kind is Kind.EXTERNAL else f"10.212.{index // 250}.{index % 250 + 2}"
    return replace(service, addresses=(dialled,), endpoints=(own,), application=None, capture="redirect", upstream_listeners=())


def _explicit(index: int, service: Service, services: list[Service], low: int) -> Service:
    """Loopback addresses: the sidecar at one, the application at another, a listener per upstream at a third."""
    own, application = f"127.77.{index // 250}.{index % 250 + 2}", f"127.78.{index // 250}.{index % 250 + 2}"
    if service.kind is Kind.EXTERNAL:
        return replace(service, addresses=(own,), endpoints=(own,), capture="explicit")
    listeners = tuple(
        UpstreamListener(
            target.name, port.number, f"127.{79 + number // 250}.{index}.{number % 250 + 2}",
            port.number if port.number >= low else port.number + LOW_PORT_SHIFT,
        )
        for number, target in enumerate(services, 1)
        for port in target.ports
    )  # fmt: skip
    return replace(
        service, addresses=(own,), endpoints=(own,), application=application, capture="explicit", upstream_listeners=listeners
    )
