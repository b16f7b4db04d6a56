"""Where everything of a demo is: addresses, ports, files. Pure: writes and starts nothing."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from controlplane.topology.document import ExpectedEdge, TopologyDocument
from controlplane.topology.model import Kind, Port, Service, ServiceName, UpstreamListener
from controlplane.topology.protocol import Handling, handling

MAX_SERVICES = 200


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
    def control(self) -> Path:
        """The Unix socket by which the demo tells the application what to do."""
        return self.directory / "app.sock"

    @property
    def spec(self) -> Path:
        """What the application is to serve."""
        return self.directory / "app.json"

    @property
    def bind_address(self) -> str:
        """Where the application listens."""
        return self.service.application or self.service.endpoints[0]


@dataclass(frozen=True, slots=True)
class Call:
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

    @property
    def meshed(self) -> list[Placed]:
        """Services with a sidecar."""
        return [place for place in self.placed.values() if place.service.meshed]

    def expected(self) -> Iterator[Call]:
        """Every request that the topology declares."""
        for edge in self.document.edges:
            for method, path in _requests(edge):
                yield Call(edge.source, edge.destination, edge.port, edge.protocol, method, path)

    def unexpected(self) -> Iterator[Call]:
        """Every port of every service, from every service that is not declared to call it."""
        declared = {(edge.source, edge.destination, edge.port) for edge in self.document.edges}
        for source in self.meshed:
            for target in self.placed.values():
                if target is source:
                    continue
                for port in target.service.ports:
                    if (source.service.name, target.service.name, port.number) not in declared:
                        method = "POST" if port.protocol == "grpc" else "GET"
                        path = "/picket.demo.Probe/Call" if port.protocol == "grpc" else "/"
                        yield Call(source.service.name, target.service.name, port.number, port.protocol, method, path)

    def dialled(self, call: Call) -> tuple[str, int]:
        """Where the source's application dials."""
        source, target = self.placed[call.source].service, self.placed[call.destination].service
        for listener in source.upstream_listeners:
            if listener.service == call.destination and listener.port == call.port:
                return listener.address, listener.listen_port
        return target.addresses[0], call.port

    def endpoint(self, call: Call) -> tuple[str, int]:
        """Where the destination's sidecar (or the server outside the mesh) listens."""
        target = self.placed[call.destination].service
        port = target.port(call.port)
        return target.endpoints[0], port.target if port else call.port


def _requests(edge: ExpectedEdge) -> list[tuple[str, str]]:
    if handling(edge.protocol) is not Handling.HTTP and edge.protocol != "https":
        return [("", "")]
    if edge.requests:
        return [(request.method, request.path) for request in edge.requests]
    return [("POST", "/picket.demo.Probe/Expected")] if edge.protocol == "grpc" else [("GET", "/")]


def make_plan(document: TopologyDocument, directory: Path, capture: str, run: str, *, privileged: bool) -> Plan:
    """Give every service its addresses and files.

    Raises:
        PlanError: too many services, or a source outside the mesh that nothing could call for.
    """
    services = list(document.topology.services.values())
    if len(services) > MAX_SERVICES:
        raise PlanError(f"the demo runs at most {MAX_SERVICES} services; this topology has {len(services)}")
    for edge in document.edges:
        if services and not document.topology.services[edge.source].meshed:
            raise PlanError(f"{edge.source} is outside the mesh (kind external) and cannot be a source in the demo")
    placed = {}
    for index, service in enumerate(services, 1):
        located = (
            _redirected(index, service) if capture == "redirect" else _explicit(index, service, services, privileged=privileged)
        )
        placed[service.name] = Placed(index, located, directory / f"{index:03d}", f"{run}-{index}")
    return Plan(capture, document, placed)


def _redirected(index: int, service: Service) -> Service:
    """One namespace each; clients dial a virtual address, as they do a cluster IP."""
    own = f"10.211.{index // 250}.{index % 250 + 2}"
    dialled = own if service.kind is Kind.EXTERNAL else f"10.212.{index // 250}.{index % 250 + 2}"
    return Service(service.name, service.kind, service.ports, (dialled,), (own,), None, "redirect")


def _explicit(index: int, service: Service, services: list[Service], *, privileged: bool) -> Service:
    """Loopback addresses: the sidecar at one, the application at another, a listener per upstream at a third."""
    ports = tuple(
        port if privileged or port.target >= 1024 else Port(port.number, port.protocol, port.target + 20_000)
        for port in service.ports
    )
    own, application = f"127.77.{index // 250}.{index % 250 + 2}", f"127.78.{index // 250}.{index % 250 + 2}"
    if service.kind is Kind.EXTERNAL:
        return Service(service.name, service.kind, ports, (own,), (own,), None, "explicit")
    listeners = tuple(
        UpstreamListener(target.name, port.number, f"127.{79 + number // 250}.{index}.{number % 250 + 2}",
                         port.number if privileged or port.number >= 1024 else port.number + 20_000)
        for number, target in enumerate(services, 1)
        for port in target.ports
        if target is not service
    )  # fmt: skip
    return Service(service.name, service.kind, ports, (own,), (own,), application, "explicit", listeners)


def topology_file(plan: Plan) -> bytes:
    """The plan as a topology file for the control plane (JSON is YAML)."""
    services = []
    for place in plan.placed.values():
        service = place.service
        item: dict[str, object] = {
            "name": service.name.name,
            "namespace": service.name.namespace,
            "kind": str(service.kind),
            "ports": [{"port": p.number, "protocol": p.protocol, "target_port": p.target} for p in service.ports],
            "addresses": list(service.addresses),
            "endpoints": list(service.endpoints),
            "capture": service.capture,
            "upstreams": [
                {"service": str(u.service), "port": u.port, "listen": f"{u.address}:{u.listen_port}"}
                for u in service.upstream_listeners
            ],
        }
        if service.application is not None:
            item["application"] = service.application
        services.append(item)
    return msgspec.json.format(msgspec.json.encode({"services": services}), indent=1)


def application_spec(place: Placed, certificate: tuple[Path, Path] | None) -> bytes:
    """What the demo's server program is to serve."""
    ports = []
    for port in place.service.ports:
        item: dict[str, object] = {
            "number": port.number,
            "protocol": port.protocol,
            "bind": "0.0.0.0" if place.service.capture == "redirect" else place.bind_address,
            "bind_port": port.target,
        }
        if port.protocol == "https" and certificate is not None:
            item["cert_file"], item["key_file"] = (str(path) for path in certificate)
        ports.append(item)
    return msgspec.json.encode({"service": str(place.service.name), "control": str(place.control), "ports": ports})
