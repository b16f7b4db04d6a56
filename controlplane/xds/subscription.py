"""What goes into the state machine of one xDS stream and what comes out, and the order of types. No I/O, no clock, no gRPC.

Events go in (a request, a new snapshot), responses come out; `xds.delta` and `xds.sotw` are the two kinds of stream.
Rules: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field

from controlplane.xds import types
from controlplane.xds.snapshot import Resource, Snapshot

#: A client names at most this many resources of a type: more is not a sidecar of ours.
MAX_NAMES = 50_000

#: Make before break: users are sent once their upstreams are answered, and what they used is removed once they are.
UPSTREAMS = (types.CLUSTER, types.ENDPOINT)
USERS = (types.LISTENER, types.ROUTE)
USED = (types.CLUSTER, types.ENDPOINT, types.SECRET, types.EXTENSION)


@dataclass(frozen=True, slots=True)
class DeltaRequest:
    """The parts of a ``DeltaDiscoveryRequest`` that matter. ``error`` is set on a NACK."""

    type_url: str
    nonce: str = ""
    subscribe: tuple[str, ...] = ()
    unsubscribe: tuple[str, ...] = ()
    initial_versions: Mapping[str, str] = field(default_factory=dict)
    error: str | None = None


@dataclass(frozen=True, slots=True)
class DeltaResponse:
    """Changed and removed resources of one type."""

    type_url: str
    nonce: str
    resources: tuple[Resource, ...]
    removed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class SotwRequest:
    """The parts of a ``DiscoveryRequest`` that matter. ``error`` is set on a NACK."""

    type_url: str
    nonce: str = ""
    names: tuple[str, ...] = ()
    version: str = ""
    error: str | None = None


@dataclass(frozen=True, slots=True)
class SotwResponse:
    """Every subscribed resource of one type."""

    type_url: str
    nonce: str
    version: str
    resources: tuple[Resource, ...]


@dataclass(frozen=True, slots=True)
class Acked:
    """The client runs what a response said."""

    type_url: str


@dataclass(frozen=True, slots=True)
class Nacked:
    """The client refused a response and keeps what it had."""

    type_url: str
    message: str


@dataclass(frozen=True, slots=True)
class ProtocolError:
    """The client broke a rule; the stream is to be closed."""

    message: str


Event = DeltaResponse | SotwResponse | Acked | Nacked | ProtocolError


class Stream(ABC):
    """What both kinds of stream share: the order in which types are sent and let go.

    https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#eventual-consistency-considerations
    """

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._nonces = 0

    def on_snapshot(self, snapshot: Snapshot) -> list[Event]:
        """New content: what changed, in an order in which nothing refers to what is not there yet."""
        self._snapshot = snapshot
        return [event for type_url in types.PUSH_ORDER if self._asked_for(type_url) for event in self._respond(type_url)]

    @property
    def settled(self) -> bool:
        """Whether the client runs the whole snapshot: it asked for all of it, was sent all of it and took it."""
        return all(
            self._runs(type_url) if self._asked_for(type_url) else not self._snapshot.of_type(type_url)
            for type_url in types.PUSH_ORDER
        )

    def _next_nonce(self) -> str:
        self._nonces += 1
        return f"{self._nonces:x}"

    def _has_to_wait(self, type_url: str) -> bool:
        """Whether something is on its way that this is to find in place."""
        return type_url in USERS and any(self._asked_for(upstream) and self._unanswered(upstream) for upstream in UPSTREAMS)

    def _has_to_stay(self, type_url: str) -> bool:
        """Whether what was removed of this type may still be used: by listeners or routes not yet replaced, or refused."""
        return type_url in USED and any(self._asked_for(user) and not self._runs(user) for user in USERS)

    def _released(self, answered: str) -> list[Event]:
        """What waited for this answer: users for what they use, removals for their users to let go."""
        waiting = USERS if answered in UPSTREAMS else USED if answered in USERS else ()
        return [event for type_url in waiting if self._asked_for(type_url) for event in self._respond(type_url)]

    @abstractmethod
    def _asked_for(self, type_url: str) -> bool:
        """Whether the client subscribed to anything of a type."""

    @abstractmethod
    def _unanswered(self, type_url: str) -> bool:
        """Whether a response of a type is on its way."""

    @abstractmethod
    def _runs(self, type_url: str) -> bool:
        """Whether the client took everything of a type that the snapshot holds."""

    @abstractmethod
    def _respond(self, type_url: str) -> list[Event]:
        """What the client lacks of a type, if it is its turn."""
