"""`TrafficPolicy`: who may call one service, as people write it in a file and later apply it to a cluster. Values only, never text.

A document belongs to the destination service: whoever owns the service owns the file. Several rules of one document are
several reasons, not an order: what one of them allows is allowed.
"""

from __future__ import annotations

import datetime
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.findings import Place
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Rule
from controlplane.topology.model import ServiceName

API_VERSION = "picket.dev/v1alpha1"
KIND = "TrafficPolicy"
_NOWHERE = Place("")
#: What has a lease of its own: a service, a source as text, and a port.
Held = tuple[ServiceName, str, int]


@dataclass(frozen=True, slots=True)
class Lease:
    """Who answers for an approved edge, why it is there, and the moment from which it is to be gone (UTC)."""

    owner: str = ""
    reason: str = ""
    ticket: str = ""
    expires: datetime.datetime | None = None

    def expired(self, now: datetime.datetime) -> bool:
        """Whether it is over."""
        return self.expires is not None and self.expires <= now


@dataclass(frozen=True, slots=True)
class Peer:
    """One source, and where it is written."""

    source: WorkloadId | AddressSource
    place: Place = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class Request:
    """One kind of HTTP request, and where it is written."""

    match: HttpMatch
    place: Place = field(default=_NOWHERE, compare=False)


@dataclass(frozen=True, slots=True)
class TrafficRule:
    """Every peer may call every port; ``http`` empty means whatever it sends there. ``protocol`` is what the writer expects.

    ``places`` has where the keys are.
    """

    peers: tuple[Peer, ...]
    ports: tuple[int, ...]
    http: tuple[Request, ...] = ()
    protocol: str = ""
    lease: Lease | None = None
    place: Place = field(default=_NOWHERE, compare=False)
    places: Mapping[str, Place] = field(default_factory=dict, compare=False)

    def rules(self) -> Iterator[Rule]:
        """One rule per peer and port."""
        matches = tuple(dict.fromkeys(request.match for request in self.http))
        for peer in self.peers:
            for port in self.ports:
                yield Rule(peer.source, port, matches)

    def at(self, key: str) -> Place:
        """Where a key is, or else the rule."""
        return self.places.get(key, self.place)


@dataclass(frozen=True, slots=True)
class TrafficPolicy:
    """One document. ``mode`` is ``None`` where the document leaves it to the control plane."""

    service: ServiceName
    rules: tuple[TrafficRule, ...] = ()
    mode: Mode | None = None
    labels: Mapping[str, str] = field(default_factory=dict)
    annotations: Mapping[str, str] = field(default_factory=dict)
    place: Place = field(default=_NOWHERE, compare=False)

    def expanded(self) -> Iterator[tuple[TrafficRule, Rule]]:
        """Every single rule, with the written one that it comes from."""
        for written in self.rules:
            for rule in written.rules():
                yield written, rule
