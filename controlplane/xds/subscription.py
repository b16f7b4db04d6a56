"""What one xDS stream has subscribed to and been sent: the protocol's rules as a state machine. No I/O, no clock, no gRPC.

Delta and state-of-the-world share it: events go in (a request, a new snapshot), responses come out.
Rules: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from controlplane.xds import types
from controlplane.xds.snapshot import Resource, Snapshot

#: A client names at most this many resources of a type: more is not a sidecar of ours.
MAX_NAMES = 50_000

_UPSTREAMS = (types.CLUSTER, types.ENDPOINT)
_USERS = (types.LISTENER, types.ROUTE)
_USED = (types.CLUSTER, types.ENDPOINT, types.SECRET, types.EXTENSION)


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


@dataclass(slots=True)
class _Type:
    """One type on one stream."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)  # name -> version that the client has or was sent
    nonce: str = ""  # of the response that the client has not answered
    refused: dict[str, str] = field(default_factory=dict)  # name -> version that was NACKed: not sent again
    in_flight: dict[str, str] = field(default_factory=dict)

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


_NOTHING = _Type()


class DeltaStream:
    """One delta stream, over any number of types."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._types: dict[str, _Type] = {}
        self._nonces = 0

    @property
    def settled(self) -> bool:
        """Whether the client runs the whole snapshot: it asked for all of it, was sent all of it and took it."""
        if any(state.nonce or any(self._pending(type_url)) for type_url, state in self._types.items()):
            return False
        return all(
            type_url in self._types and self._types[type_url].known.get(name) == resource.version
            for type_url, by_name in self._snapshot.resources.items()
            for name, resource in by_name.items()
            if name not in self._types.get(type_url, _NOTHING).refused
        )

    def on_request(self, request: DeltaRequest) -> list[Event]:
        """A subscription, an ACK, a NACK, or several of them at once."""
        if request.type_url not in types.SHORT_NAMES:
            # A type that is not served has no resources: the client is left waiting, as the protocol has it.
            return []
        first = request.type_url not in self._types
        state = self._types.setdefault(request.type_url, _Type())
        events: list[Event] = []
        if request.nonce and request.nonce == state.nonce:
            state.nonce = ""
            if request.error is not None:
                state.refused.update(state.in_flight)
                events.append(Nacked(request.type_url, request.error))
            else:
                state.refused.clear()
                events.append(Acked(request.type_url))
            state.in_flight = {}
        elif request.nonce and request.error is None and not (request.subscribe or request.unsubscribe):
            return []  # an answer to something older
        if first:
            state.known = dict(request.initial_versions)
            # An empty first subscription, or "*", asks for everything; names beside "*" are wanted as well.
            state.wildcard = request.type_url in types.WILDCARD and not request.subscribe
        if "*" in request.subscribe:
            state.wildcard = True
        if "*" in request.unsubscribe:
            state.wildcard = False
        for name in request.unsubscribe:
            state.names.discard(name)
            if not state.wants(name):
                state.known.pop(name, None)
        new = set(request.subscribe) - {"*"}
        state.names |= new
        if len(state.names) > MAX_NAMES:
            return [ProtocolError(f"more than {MAX_NAMES} subscriptions to {types.SHORT_NAMES[request.type_url]}")]
        if not first:
            # Subscribing again to a name asks for it again: the client may have dropped it.
            for name in new:
                state.known.pop(name, None)
                state.refused.pop(name, None)
        missing = {name for name in new if name not in self._snapshot.of_type(request.type_url)}
        return events + self._respond(request.type_url, absent=missing, always=first and state.wildcard) + self._released(
            request.type_url
        )

    def on_snapshot(self, snapshot: Snapshot) -> list[Event]:
        """New content: what changed, in an order in which nothing refers to what is not there yet."""
        self._snapshot = snapshot
        events: list[Event] = []
        for type_url in types.PUSH_ORDER:
            if type_url in self._types:
                events += self._respond(type_url)
        return events

    def _released(self, answered: str) -> list[Event]:
        """What waited for this answer: users for what they use, removals for their users to let go."""
        waiting = _USERS if answered in _UPSTREAMS else _USED if answered in _USERS else ()
        return [event for type_url in waiting if type_url in self._types for event in self._respond(type_url)]

    def _pending(self, type_url: str) -> tuple[list[Resource], list[str]]:
        state = self._types[type_url]
        current = self._snapshot.of_type(type_url)
        changed = [
            resource
            for name, resource in current.items()
            if state.wants(name) and state.known.get(name) != resource.version and state.refused.get(name) != resource.version
        ]
        removed = [name for name in state.known if name not in current]
        if removed and type_url in _USED and self._still_in_use():
            removed = []
        return changed, removed

    def _still_in_use(self) -> bool:
        """Whether listeners or routes that may refer to a removed cluster are not yet replaced (make before break)."""
        users = [(self._types[type_url], type_url) for type_url in _USERS if type_url in self._types]
        return any(state.nonce or any(self._pending(type_url)) for state, type_url in users)

    def _upstreams_unanswered(self) -> bool:
        """Whether clusters or endpoints are on their way, which listeners and routes are to find in place."""
        return any(self._types[type_url].nonce for type_url in _UPSTREAMS if type_url in self._types)

    def _respond(self, type_url: str, absent: Iterable[str] = (), *, always: bool = False) -> list[Event]:
        state = self._types[type_url]
        if state.nonce or (type_url in _USERS and self._upstreams_unanswered()):
            return []  # one response at a time, upstreams before their users; the answer brings the rest
        changed, removed = self._pending(type_url)
        gone = sorted({*removed, *absent})
        if not changed and not gone and not always:
            return []
        self._nonces += 1
        state.nonce = f"{self._nonces:x}"
        state.in_flight = {resource.name: resource.version for resource in changed}
        for resource in changed:
            state.known[resource.name] = resource.version
        for name in gone:
            state.known.pop(name, None)
        return [DeltaResponse(type_url, state.nonce, tuple(changed), tuple(gone))]


class SotwStream:
    """One state-of-the-world stream, over any number of types."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot
        self._types: dict[str, _Type] = {}
        self._sent: dict[str, tuple[str, ...]] = {}
        self._nonces = 0

    @property
    def settled(self) -> bool:
        """Whether the client asked for the whole snapshot and was sent it."""
        return not any(self._outdated(type_url) for type_url in self._types) and all(
            type_url in self._types and self._types[type_url].wants(name)
            for type_url, by_name in self._snapshot.resources.items()
            for name in by_name
        )

    def on_request(self, request: SotwRequest) -> list[Event]:
        """A subscription, an ACK or a NACK; the names are the whole subscription each time."""
        if request.type_url not in types.SHORT_NAMES:
            return []
        if len(request.names) > MAX_NAMES:
            return [ProtocolError(f"more than {MAX_NAMES} subscriptions to {types.SHORT_NAMES[request.type_url]}")]
        first = request.type_url not in self._types
        state = self._types.setdefault(request.type_url, _Type())
        events: list[Event] = []
        if request.nonce and request.nonce != state.nonce and not first:
            return []  # an answer to something older: a newer response is on its way
        if request.nonce and request.nonce == state.nonce:
            events.append(Acked(request.type_url) if request.error is None else Nacked(request.type_url, request.error))
        wildcard = (request.type_url in types.WILDCARD and not request.names and (first or state.wildcard)) or "*" in request.names
        changed = first or wildcard != state.wildcard or set(request.names) != state.names
        state.wildcard, state.names = wildcard, set(request.names)
        if first and request.version and request.version == self._version(request.type_url):
            # A reconnecting client that has exactly this needs nothing.
            self._sent[request.type_url] = self._key(request.type_url)
            return events
        return events + (self._respond(request.type_url) if changed or self._outdated(request.type_url) else [])

    def on_snapshot(self, snapshot: Snapshot) -> list[Event]:
        """New content: every type whose subscribed part changed."""
        self._snapshot = snapshot
        return [
            event
            for type_url in types.PUSH_ORDER
            if type_url in self._types and self._outdated(type_url)
            for event in self._respond(type_url)
        ]

    def _selected(self, type_url: str) -> tuple[Resource, ...]:
        state = self._types[type_url]
        return tuple(r for name, r in sorted(self._snapshot.of_type(type_url).items()) if state.wants(name))

    def _key(self, type_url: str) -> tuple[str, ...]:
        return tuple(f"{resource.name}\0{resource.version}" for resource in self._selected(type_url))

    def _version(self, type_url: str) -> str:
        return self._snapshot.type_version(type_url)

    def _outdated(self, type_url: str) -> bool:
        return self._sent.get(type_url) != self._key(type_url)

    def _respond(self, type_url: str) -> list[Event]:
        selected = self._selected(type_url)
        state = self._types[type_url]
        if not selected and not state.wildcard:
            return []  # named resources that do not exist: the client waits for them
        self._nonces += 1
        state.nonce = f"{self._nonces:x}"
        self._sent[type_url] = self._key(type_url)
        return [SotwResponse(type_url, state.nonce, self._version(type_url), selected)]
