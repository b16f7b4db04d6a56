"""One delta (incremental) xDS stream as a state machine. No I/O, no clock, no gRPC.

Rules: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from controlplane.xds import types
from controlplane.xds.snapshot import ByName, Resource, Snapshot
from controlplane.xds.subscription import (
    MAX_NAMES,
    Acked,
    DeltaRequest,
    DeltaResponse,
    Event,
    Nacked,
    ProtocolError,
    Stream,
)


@dataclass(slots=True)
class _Type:
    """One type on one stream."""

    wildcard: bool = False
    names: set[str] = field(default_factory=set)
    known: dict[str, str] = field(default_factory=dict)  # name -> version that the client has or was sent
    nonce: str = ""  # of the response that the client has not answered
    in_flight: dict[str, str] = field(default_factory=dict)  # what that response holds
    refused: dict[str, str] = field(default_factory=dict)  # name -> version that was NACKed: not sent again
    refuses_removal: bool = False  # the last response held nothing but removals, and was NACKed
    absent: set[str] = field(default_factory=set)  # asked for, not there, and not said so yet
    owed: bool = False  # a wildcard's first response, which is sent even if it is empty
    taken: ByName | None = None  # a snapshot's resources of this type, once the client runs all of them
    coming: ByName | None = None  # those that it runs once it takes what is in flight

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def doubt(self) -> None:
        """What the client runs is to be found out again: it asked for something else, or may have dropped something."""
        self.taken = self.coming = None


class DeltaStream(Stream):
    """One delta stream, over any number of types."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self._types: dict[str, _Type] = {}
        self._awaited: set[str] = set()  # endpoints that clusters wait for which were sent, whether the client has them or not

    def on_request(self, request: DeltaRequest) -> list[Event]:
        """A subscription, an ACK, a NACK, or several of them at once."""
        if request.type_url not in types.SHORT_NAMES:
            # A type that is not served has no resources: the client is left waiting, as the protocol has it.
            return []
        state = self._types.get(request.type_url)
        if state is None:
            return self._first(request)
        answers = bool(request.nonce) and request.nonce == state.nonce
        if request.nonce and not answers and not (request.subscribe or request.unsubscribe):
            return []  # an answer to something older
        events: list[Event] = [self._answered(state, request)] if answers else []
        if request.subscribe or request.unsubscribe:
            state.doubt()
        state.owed |= "*" in request.subscribe
        state.wildcard = (state.wildcard or "*" in request.subscribe) and "*" not in request.unsubscribe
        if request.unsubscribe:
            self._unsubscribed(state, request.unsubscribe)
        new = set(request.subscribe) - {"*"}
        state.names |= new
        if len(state.names) > MAX_NAMES:
            return [_too_many(request.type_url)]
        for name in new:
            # Subscribing again to a name asks for it again: the client may have dropped it.
            state.known.pop(name, None)
            state.refused.pop(name, None)
        state.absent |= new
        events += self._respond(request.type_url)
        return events + self._released(request.type_url) if answers else events

    @staticmethod
    def _unsubscribed(state: _Type, unsubscribed: Iterable[str]) -> None:
        """Forget names that are not wanted any more. One that "*" covers still is sent again, for the client may have dropped it.

        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#unsubscribing-from-resources
        """
        given_up = state.names.intersection(unsubscribed)
        state.names -= given_up
        state.absent -= given_up
        state.known = {name: version for name, version in state.known.items() if state.wants(name)}
        if state.wildcard:
            state.absent |= given_up
            for name in given_up:
                state.known.pop(name, None)

    def _first(self, request: DeltaRequest) -> list[Event]:
        """The first request of a type: an empty subscription to a type that allows it, or "*", asks for everything."""
        new = set(request.subscribe) - {"*"}
        if max(len(new), len(request.initial_versions)) > MAX_NAMES:
            return [_too_many(request.type_url)]
        wildcard = "*" in request.subscribe or (request.type_url in types.WILDCARD and not request.subscribe)
        state = self._types[request.type_url] = _Type(wildcard, new, absent=set(new), owed=wildcard)
        state.known = {name: version for name, version in request.initial_versions.items() if state.wants(name)}
        if request.type_url == types.ENDPOINT:
            self._forget_awaited(state)
        return self._respond(request.type_url)

    def _forget_awaited(self, state: _Type) -> None:
        """An updated or added cluster waits for its endpoints: Envoy does not ask again for those that another one watches.

        It is told, too, that there are none any more.
        https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-warming
        """
        for name in self._awaited & (state.known.keys() | state.names):
            state.known.pop(name, None)
            state.absent.add(name)
            state.doubt()
        self._awaited.clear()

    def _answered(self, state: _Type, request: DeltaRequest) -> Event:
        state.nonce = ""
        in_flight, state.in_flight = state.in_flight, {}
        state.refuses_removal = request.error is not None and not in_flight
        coming, state.coming = state.coming, None
        if request.error is not None:
            state.refused.update(in_flight)
            return Nacked(request.type_url, request.error)
        for name in in_flight:
            state.refused.pop(name, None)
        state.taken = coming
        return Acked(request.type_url)

    def _asked_for(self, type_url: str) -> bool:
        return type_url in self._types

    def _unanswered(self, type_url: str) -> bool:
        return bool(self._types[type_url].nonce)

    def _runs(self, type_url: str) -> bool:
        state = self._types[type_url]
        current = self._snapshot.of_type(type_url)
        if current is state.taken:
            return True
        if (
            state.nonce
            or state.refuses_removal
            or state.known.keys() != current.keys()
            or not all(state.known[name] == r.version != state.refused.get(name) for name, r in current.items())
        ):
            return False
        if not state.absent and not state.owed:
            state.taken = current  # nothing is left to say of it
        return True

    def _respond(self, type_url: str) -> list[Event]:
        state = self._types[type_url]
        current = self._snapshot.of_type(type_url)
        if current is state.taken:
            return []
        if state.nonce or self._has_to_wait(type_url):
            return []  # one response at a time, upstreams before their users; the answer brings the rest
        # Of a client that runs all of another snapshot's, only the difference is looked at.
        difference = None if state.taken is None else current.since(state.taken)
        candidates = current.values() if difference is None else difference.changed
        changed = tuple(resource for resource in candidates if self._lacks(state, resource))
        gone = {name for name in state.known if name not in current} if difference is None else set(difference.gone)
        if gone and self._has_to_stay(type_url):
            gone.clear()
        gone |= {name for name in state.absent if name not in current}
        state.absent.clear()
        if not changed and not gone and not state.owed:
            return []
        whole = difference is not None and changed == difference.changed and gone == difference.gone
        state.owed, state.taken, state.coming = False, None, current if whole else None
        state.nonce = self._next_nonce()
        state.in_flight = {resource.name: resource.version for resource in changed}
        state.known |= state.in_flight
        for name in gone:
            state.known.pop(name, None)
            state.refused.pop(name, None)
        response = DeltaResponse(type_url, state.nonce, changed, tuple(sorted(gone)))
        return [response, *self._endpoints_of(changed)] if type_url == types.CLUSTER else [response]

    def _endpoints_of(self, clusters: Iterable[Resource]) -> list[Event]:
        """The endpoints that these clusters wait for, also those that the client has."""
        self._awaited.update(name for cluster in clusters for type_url, name in cluster.needs if type_url == types.ENDPOINT)
        endpoints = self._types.get(types.ENDPOINT)
        if endpoints is None:
            return []
        self._forget_awaited(endpoints)
        return self._respond(types.ENDPOINT)

    @staticmethod
    def _lacks(state: _Type, resource: Resource) -> bool:
        if not state.wants(resource.name) or state.known.get(resource.name) == resource.version:
            return False
        return state.refused.get(resource.name) != resource.version


def _too_many(type_url: str) -> ProtocolError:
    return ProtocolError(f"more than {MAX_NAMES} subscriptions to {types.SHORT_NAMES[type_url]}")
