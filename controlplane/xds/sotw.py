"""One state-of-the-world xDS stream as a state machine. No I/O, no clock, no gRPC.

Rules: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#basic-protocol-overview
"""

from __future__ import annotations

from dataclasses import dataclass, field

from controlplane.xds import types
from controlplane.xds.snapshot import Resource, Snapshot, version_of
from controlplane.xds.subscription import MAX_NAMES, Acked, Event, Nacked, ProtocolError, SotwRequest, SotwResponse, Stream


@dataclass(slots=True)
class _Type:
    """One type on one stream."""

    wildcard: bool = False
    names: frozenset[str] = frozenset()
    named: bool = False  # whether a request on this stream named anything, "*" too
    nonce: str = ""  # of the last response
    answered: bool = True
    refused: bool = False  # the last response was NACKed: it is not sent again
    version: str | None = None  # of what the client was sent
    held: dict[str, Resource] = field(default_factory=dict)  # the same
    taken: dict[str, Resource] = field(default_factory=dict)  # what it said that it took

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names


class SotwStream(Stream):
    """One state-of-the-world stream, over any number of types."""

    def __init__(self, snapshot: Snapshot) -> None:
        super().__init__(snapshot)
        self._types: dict[str, _Type] = {}

    def on_request(self, request: SotwRequest) -> list[Event]:
        """A subscription, an ACK or a NACK; the names are the whole subscription each time."""
        if request.type_url not in types.SHORT_NAMES:
            return []
        if len(request.names) > MAX_NAMES:
            return [ProtocolError(f"more than {MAX_NAMES} subscriptions to {types.SHORT_NAMES[request.type_url]}")]
        state = self._types.get(request.type_url)
        if state is None:
            return self._first(request)
        if request.nonce and request.nonce != state.nonce:
            return []  # an answer to something older: a newer response is on its way
        events: list[Event] = []
        if request.nonce and not state.answered:
            state.answered = True
            state.refused = request.error is not None
            state.taken = state.taken if state.refused else state.held
            events.append(Acked(request.type_url) if request.error is None else Nacked(request.type_url, request.error))
        self._subscribe(state, request)
        answered = bool(events)
        events += self._respond(request.type_url)
        return events + self._released(request.type_url) if answered else events

    def _first(self, request: SotwRequest) -> list[Event]:
        state = self._types[request.type_url] = _Type()
        self._subscribe(state, request)
        selected = self._selected(request.type_url)
        # Clusters that were sent wait for their endpoints, whether the client has them or not.
        awaited = request.type_url == types.ENDPOINT and bool(self._types.get(types.CLUSTER, state).nonce)
        if request.version and not awaited and request.version == version_of(selected.values()):
            # A reconnecting client that has exactly this needs nothing.
            state.version, state.held, state.taken = request.version, selected, selected
        return self._respond(request.type_url)

    @staticmethod
    def _subscribe(state: _Type, request: SotwRequest) -> None:
        """No names at all mean everything, for types that allow it and as long as none was ever named; "*" always does."""
        state.named |= bool(request.names)
        state.wildcard = "*" in request.names or (not state.named and request.type_url in types.WILDCARD)
        state.names = frozenset(request.names)

    def _asked_for(self, type_url: str) -> bool:
        return type_url in self._types

    def _unanswered(self, type_url: str) -> bool:
        return not self._types[type_url].answered

    def _runs(self, type_url: str) -> bool:
        state = self._types[type_url]
        current = self._snapshot.of_type(type_url)
        return state.answered and not state.refused and state.held == current

    def _selected(self, type_url: str) -> dict[str, Resource]:
        """What the client is to hold: what it wants, and what it cannot let go yet."""
        state = self._types[type_url]
        selected = {name: r for name, r in self._snapshot.of_type(type_url).items() if state.wants(name)}
        # What it was told to let go is gone, though it has not said so yet: a cluster that came back would find no endpoints.
        kept = (state.taken.keys() & state.held.keys()) - selected.keys()
        if kept and self._has_to_stay(type_url):
            selected |= {name: state.taken[name] for name in kept if state.wants(name)}
        return dict(sorted(selected.items()))

    def _respond(self, type_url: str) -> list[Event]:
        state = self._types[type_url]
        if self._has_to_wait(type_url) or not (state.answered or type_url == types.CLUSTER):
            # One response at a time, upstreams before their users; the answer brings the rest. Clusters do not wait: Envoy
            # answers only when they are warm, and one that was removed meanwhile would never be.
            return []
        selected = self._selected(type_url)
        version = version_of(selected.values())
        if version == state.version:
            return []
        had, state.version, state.held, state.refused = state.held, version, selected, False
        if not selected and not state.wildcard and not (had and state.names and type_url in types.WILDCARD):
            return []  # named resources that do not exist: the client waits for them
        state.nonce, state.answered = self._next_nonce(), False
        response = SotwResponse(type_url, state.nonce, version, tuple(selected.values()))
        if type_url != types.CLUSTER or types.ENDPOINT not in self._types:
            return [response]
        # https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#resource-warming
        self._types[types.ENDPOINT].version = None
        return [response, *self._respond(types.ENDPOINT)]
