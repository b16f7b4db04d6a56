"""Services, workloads and their addresses as frozen values, with the look-ups that others need. Never reads a file."""

from __future__ import annotations

import enum
import ipaddress
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import NamedTuple

from controlplane.identity.spiffe import WorkloadId


class ServiceName(NamedTuple):
    """``namespace/name``: what others dial."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


def parse_service_name(text: str) -> ServiceName:
    """Read ``namespace/name``, or ``name`` in the namespace ``default``.

    Raises:
        ValueError: empty parts.
    """
    left, slash, right = text.partition("/")
    name = ServiceName(left, right) if slash else ServiceName("default", left)
    if not name.namespace or not name.name or "/" in name.name:
        raise ValueError(f"{text!r} is not a service name: write namespace/name, or name for the namespace default")
    return name


class Kind(enum.StrEnum):
    """What a service is."""

    SERVICE = "service"
    DATASTORE = "datastore"
    EXTERNAL = "external"  # outside the mesh: no sidecar, known by its host name
    GATEWAY = "gateway"


@dataclass(frozen=True, slots=True)
class Port:
    """A service's port; ``target`` is where its endpoints listen."""

    number: int
    protocol: str
    target: int


@dataclass(frozen=True, slots=True)
class UpstreamListener:
    """In explicit capture: the loopback address at which this workload's application dials a service's port."""

    service: ServiceName
    port: int
    address: str
    listen_port: int


@dataclass(frozen=True, slots=True)
class Service:
    """One service, its one workload and where both are.

    ``addresses`` are what clients dial, ``endpoints`` where sidecars (or, for external services, the servers themselves)
    listen. ``application`` is where the sidecar finds its application: ``None`` means at the endpoint's own address.
    """

    name: ServiceName
    kind: Kind
    ports: tuple[Port, ...] = ()
    addresses: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    application: str | None = None
    capture: str = "redirect"
    upstream_listeners: tuple[UpstreamListener, ...] = ()

    @property
    def workload(self) -> WorkloadId:
        """The identity behind the service."""
        return WorkloadId(self.name.namespace, self.name.name)

    @property
    def meshed(self) -> bool:
        """Whether a sidecar stands before it."""
        return self.kind is not Kind.EXTERNAL

    def port(self, number: int) -> Port | None:
        """The declared port with this number."""
        return next((port for port in self.ports if port.number == number), None)


@dataclass(frozen=True)
class Topology:
    """Everything that exists. Equal topologies compile to equal configuration."""

    services: Mapping[ServiceName, Service] = field(default_factory=dict)

    @classmethod
    def of(cls, services: Iterable[Service]) -> Topology:
        """Index services by name."""
        return cls({service.name: service for service in services})

    @cached_property
    def by_workload(self) -> Mapping[WorkloadId, Service]:
        """Services that have a sidecar, by identity."""
        return {service.workload: service for service in self.services.values() if service.meshed}

    @cached_property
    def by_address(self) -> Mapping[str, Service]:
        """Services by each address that clients dial or endpoints have."""
        found: dict[str, Service] = {}
        for service in self.services.values():
            for address in (*service.addresses, *service.endpoints):
                found.setdefault(address, service)
        return found

    @cached_property
    def by_host(self) -> Mapping[str, Service]:
        """External services by host name."""
        return {s.name.name.lower(): s for s in self.services.values() if s.kind is Kind.EXTERNAL}

    def resolve_dialled(self, source: Service | None, address: str, port: int) -> tuple[Service, int] | None:
        """The service and port that ``source`` meant when it dialled an address."""
        if source is not None:
            for listener in source.upstream_listeners:
                if listener.address == address and listener.listen_port == port:
                    service = self.services.get(listener.service)
                    return None if service is None else (service, listener.port)
        service = self.by_address.get(address)
        if service is None:
            return None
        for declared in service.ports:
            if declared.number == port:
                return service, port
        if address in service.endpoints:
            for declared in service.ports:
                if declared.target == port:
                    return service, declared.number
        return service, port


def is_ip_address(text: str) -> bool:
    """Whether the text is a literal IPv4 or IPv6 address."""
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True
