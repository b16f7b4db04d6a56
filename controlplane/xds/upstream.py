"""What a sidecar may call: one port of a service, what it is known by, and its names in the configuration. Builds nothing."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from controlplane.policy.rules import HttpMatch
from controlplane.topology.model import Kind, Port, Service
from controlplane.topology.protocol import Handling, handling, server_speaks_first
from controlplane.xds import names

#: Ports on which the server usually speaks first: waiting for the client's bytes would stall both.
SERVER_FIRST_PORTS = frozenset({21, 22, 25, 110, 143, 587, 3306, 4222})
_TLS_PROTOCOLS = frozenset({"https", "tls"})


@dataclass(frozen=True, slots=True)
class Upstream:
    """One port of a service, and whether this source may reach it.

    Where no sidecar stands at the destination, this one decides and reports: ``reported`` names (``would-deny:...``) a use that
    passes although it is not approved. ``http`` are the only requests that are approved, if any are named, and ``unlisted``
    names what becomes of others: ``deny:...`` or ``would-deny:...``.
    """

    service: Service
    port: Port
    allowed: bool
    reported: str = ""
    http: tuple[HttpMatch, ...] = ()
    unlisted: str = ""

    @property
    def refuses_unlisted(self) -> bool:
        """Whether what is not in ``http`` is dropped."""
        return bool(self.http) and self.unlisted.startswith("deny:")

    @property
    def opaque(self) -> Upstream:
        """The same where requests cannot be seen: approval of some of them is none of a connection."""
        if not self.http:
            return self
        return replace(self, allowed=not self.refuses_unlisted, reported="" if self.refuses_unlisted else self.unlisted, http=())

    @property
    def is_named(self) -> bool:
        """Whether it is a host that is known by its name in the request or in the TLS handshake, wherever it was dialled."""
        return self.service.kind is Kind.EXTERNAL and (handling(self.port.protocol) is Handling.HTTP or self.has_tls)

    @property
    def has_tls(self) -> bool:
        """Whether the application brings its own TLS."""
        return self.service.kind is Kind.EXTERNAL and self.port.protocol in _TLS_PROTOCOLS

    @property
    def host(self) -> str:
        """The name by which it is known, as Envoy compares it."""
        return self.service.name.name.lower()

    def cluster(self, *, inspected_http: bool = False) -> str:
        """The cluster that leads there."""
        if not self.service.meshed:
            return names.external_cluster(self.service.name, self.port.number)
        return names.mesh_cluster(self.service.name, self.port.number, inspected_http=inspected_http)

    @property
    def clusters(self) -> list[str]:
        """Every cluster that its chains refer to: none where it is refused, whether requests can be seen or not."""
        unseen = self.has_tls or handling(self.port.protocol) is Handling.OPAQUE
        if not (self.opaque if unseen else self).allowed:
            return []
        both = self.service.meshed and handling(self.port.protocol) is Handling.INSPECT
        return [self.cluster(), self.cluster(inspected_http=True)] if both else [self.cluster()]


def silent_ports(services: Iterable[Service]) -> tuple[int, ...]:
    """Ports on which the client may wait for the server, so that nothing may wait for the client."""
    declared = {port.number for service in services for port in service.ports if server_speaks_first(port.protocol)}
    return tuple(sorted(SERVER_FIRST_PORTS | declared))


def told_apart(upstreams: Sequence[Upstream]) -> Iterator[tuple[Upstream, tuple[str, ...], bool]]:
    """Upstreams with the addresses, or as the host, by which no other is known: Envoy refuses two chains for one match.

    Of several, an allowed one comes first; its cluster asks for its identity, so nobody else is reached through it.
    """
    taken: set[tuple[int, str, bool]] = set()
    for upstream in sorted(upstreams, key=lambda upstream: not upstream.allowed):
        number = upstream.port.number
        known_by = (upstream.host,) if upstream.is_named else upstream.service.addresses
        free = tuple(text for text in known_by if (number, text, upstream.has_tls) not in taken)
        taken.update((number, text, upstream.has_tls) for text in free)
        if free:
            yield upstream, () if upstream.is_named else free, upstream.is_named
