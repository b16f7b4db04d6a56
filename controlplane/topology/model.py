"""Services, workloads and their addresses as frozen values, with the look-ups that others need. Never reads a file."""

from __future__ import annotations

import enum
import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import cached_property, lru_cache
from typing import NamedTuple

from controlplane.identity.spiffe import SpiffeError, WorkloadId

_NAMESPACE = re.compile(r"[A-Za-z0-9._-]{1,63}\Z")
_HOST = re.compile(r"[A-Za-z0-9_]([A-Za-z0-9._-]{0,251}[A-Za-z0-9_])?\Z")


class ServiceName(NamedTuple):
    """``namespace/name``: what others dial."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"

    @property
    def workload(self) -> WorkloadId | None:
        """The identity behind a service of this name; ``None`` for a host whose name cannot be one."""
        try:
            return WorkloadId(self.namespace, self.name)
        except SpiffeError:
            return None


def parse_service_name(text: str) -> ServiceName:
    """Read ``namespace/name``, or ``name`` in the namespace ``default``.

    A namespace is one part of a SPIFFE ID; a name may also be the host name or address of what is outside the mesh.

    Raises:
        ValueError: another shape.
    """
    left, slash, right = text.partition("/")
    name = ServiceName(left, right) if slash else ServiceName("default", left)
    if not _NAMESPACE.match(name.namespace) or not (_HOST.match(name.name) or is_ip_address(name.name)):
        raise ValueError(f"{text[:300]!r} is not a service name: write namespace/name, or name for the namespace default")
    return name


class Kind(enum.StrEnum):
    """What a service is."""

    SERVICE = "service"
    DATASTORE = "datastore"
    EXTERNAL = "external"  # outside the mesh: no sidecar, known by its host name
    GATEWAY = "gateway"


class Guard(enum.StrEnum):
    """How many of a service's replicas have a sidecar."""

    ALL = "all"
    SOME = "some"  # while they are being replaced by ones that have
    NONE = "none"


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
    Where not all have a sidecar, as ``guard`` says, callers reach it as it is dialled, without mTLS.
    """

    name: ServiceName
    kind: Kind
    ports: tuple[Port, ...] = ()
    addresses: tuple[str, ...] = ()
    endpoints: tuple[str, ...] = ()
    application: str | None = None
    capture: str = "redirect"
    upstream_listeners: tuple[UpstreamListener, ...] = ()
    guard: Guard = Guard.ALL

    @property
    def workload(self) -> WorkloadId:
        """The identity behind the service."""
        return WorkloadId(self.name.namespace, self.name.name)

    @property
    def meshed(self) -> bool:
        """Whether a sidecar stands before each replica."""
        return self.kind is not Kind.EXTERNAL and self.guard is Guard.ALL

    @property
    def face(self) -> Service:
        """The service as callers dial it: without where its sidecars stand, so that it is the same while replicas come and go."""
        return self if self.kind is Kind.EXTERNAL or not self.endpoints else replace(self, endpoints=())

    def port(self, number: int) -> Port | None:
        """The declared port with this number."""
        for port in self.ports:
            if port.number == number:
                return port
        return None


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
        return {
            service.workload: service
            for service in self.services.values()
            if service.kind is not Kind.EXTERNAL and service.guard is not Guard.NONE
        }

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
        """External services by host name; the first of those that share one."""
        found: dict[str, Service] = {}
        for service in self.services.values():
            if service.kind is Kind.EXTERNAL:
                found.setdefault(service.name.name.lower(), service)
        return found

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


@lru_cache(maxsize=50_000)  # a cluster's addresses are read again at each change of it
def canonical_address(text: str) -> str | None:
    """A literal address in the one spelling that sidecars report (an IPv4 one that is written as IPv6 is IPv4).

    ``None`` for any other text, and for an address that holds only on one link (``fe80::1%eth0``).
    """
    try:
        address = ipaddress.ip_address(text)
    except ValueError:
        return None
    if isinstance(address, ipaddress.IPv6Address):
        if address.scope_id is not None:
            return None
        return str(address.ipv4_mapped or address)
    return str(address)


def is_ip_address(text: str) -> bool:
    """Whether the text is a literal IPv4 or IPv6 address."""
    return canonical_address(text) is not None
