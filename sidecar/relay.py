"""Between Envoy's delta ADS stream and the control plane's: what to pass on, what to keep, what to answer alone. No I/O, no clock.

Events go in (an Envoy request, a control-plane response, a stream that opened or ended), actions come out. With the control
plane away, Envoy's subscriptions are answered from the last-good resources; Envoy's own stream is never reset for it.
Rules: https://www.envoyproxy.io/docs/envoy/latest/api-docs/xds_protocol#incremental-xds

Words: *upstream* is the stream to the control plane, *local* an answer of the agent's own. Envoy sees the nonces
``u<stream>.<number>:<nonce>`` and ``l:<number>``; only those of the current upstream stream go up again.
"""

from __future__ import annotations

from collections.abc import Iterable

import msgspec

from protos.picket.v1.xds_pb2 import DeltaDiscoveryRequest as Request
from protos.picket.v1.xds_pb2 import DeltaDiscoveryResponse as Response
from protos.picket.v1.xds_pb2 import Node, Resource
from sidecar.actions import Accepted, Action, CloseUpstream, Refused, ToEnvoy, ToUpstream
from sidecar.lastgood import MAX_NAME_CHARACTERS, MAX_RESOURCES_OF_A_TYPE, Resources

_CONFIG = "type.googleapis.com/envoy.config."
CLUSTER = _CONFIG + "cluster.v3.Cluster"
ENDPOINT = _CONFIG + "endpoint.v3.ClusterLoadAssignment"
LISTENER = _CONFIG + "listener.v3.Listener"
ROUTE = _CONFIG + "route.v3.RouteConfiguration"
SECRET = "type.googleapis.com/envoy.extensions.transport_sockets.tls.v3.Secret"  # noqa: S105  # a type
EXTENSION = _CONFIG + "core.v3.TypedExtensionConfig"
#: The order in which a new upstream stream is told of Envoy's subscriptions, and in which they are answered locally.
ORDER = (CLUSTER, ENDPOINT, LISTENER, ROUTE, SECRET, EXTENSION)
_WILDCARD = frozenset({CLUSTER, LISTENER})
#: A version that no resource has: the control plane then sends the resource, or its removal, whatever it was.
UNSURE = "?"
MAX_TYPES = 16


class _Type(msgspec.Struct):
    """One type on Envoy's stream."""

    wildcard: bool = False
    names: set[str] = msgspec.field(default_factory=set)
    known: dict[str, str] = msgspec.field(default_factory=dict)  # name -> version that Envoy has
    answered: bool = False  # Envoy was sent something of this type on this stream
    synced: bool = False  # the upstream stream knows the subscription
    pending: set[str] = msgspec.field(default_factory=set)  # nonces that Envoy has not answered
    unfit: set[str] = msgspec.field(default_factory=set)  # kept resources that this Envoy refuses

    def wants(self, name: str) -> bool:
        return self.wildcard or name in self.names

    def lacks(self, name: str) -> bool:
        return self.known.get(name, UNSURE) == UNSURE


class Relay:
    """One Envoy, at most one stream of it at a time, and at most one upstream stream."""

    def __init__(self, last_good: Resources) -> None:
        self.last_good = last_good
        self._types: dict[str, _Type] = {}
        self._node: Node | None = None
        self._sent: dict[str, Response] = {}  # by the nonce that Envoy saw, until Envoy answers
        self._orphans: dict[str, set[str]] = {}  # kept resources that Envoy does not ask for any more
        self._upstream = 0  # number of the open upstream stream; 0: none
        self._streams = 0
        self._node_sent = False
        self._heard = False
        self._nonces = 0

    @property
    def envoy_present(self) -> bool:
        """Whether Envoy's stream has subscribed to anything yet."""
        return bool(self._types)

    @property
    def envoy_version(self) -> str:
        """The version that Envoy told; empty before that."""
        version = self._node.user_agent_build_version.version if self._node is not None else None
        return f"{version.major_number}.{version.minor_number}.{version.patch}" if version is not None else ""

    @property
    def starved(self) -> bool:
        """Whether the upstream stream is open, Envoy has nothing of a wildcard type, and the control plane said nothing at all."""
        unanswered = any(state.wildcard and not state.answered and not state.known for state in self._types.values())
        return bool(self._upstream) and not self._heard and unanswered

    def runs(self, type_url: str) -> Iterable[bytes]:
        """The resources of a type that Envoy has for certain, serialised, smallest first."""
        state, kept = self._types.get(type_url), self.last_good.get(type_url, {})
        return sorted((kept[name] for name in kept if state is not None and not state.lacks(name)), key=len)

    # -- Envoy's side ------------------------------------------------------------------------------------------------

    def on_envoy_opened(self) -> list[Action]:
        """A new stream of Envoy; an older one is forgotten. The upstream stream begins anew, for it follows Envoy's."""
        self._types, self._sent, self._orphans = {}, {}, {}
        self._node = None
        if not self._upstream:
            return []
        self._upstream = 0
        return [CloseUpstream()]

    def on_envoy_closed(self) -> list[Action]:
        """Envoy's stream ended."""
        return self.on_envoy_opened()

    def on_envoy_request(self, request: Request) -> list[Action]:
        """A subscription, an ACK or a NACK, or several of them at once."""
        if request.HasField("node"):
            # The list of Envoy's extensions is long, and nobody asks for it.
            self._node = Node(id=request.node.id, cluster=request.node.cluster)
            self._node.user_agent_name = request.node.user_agent_name
            self._node.user_agent_build_version.version.CopyFrom(request.node.user_agent_build_version.version)
        first = request.type_url not in self._types
        if first and len(self._types) >= MAX_TYPES:
            return []
        state = self._types.setdefault(request.type_url, _Type())
        actions = self._answered(request, state)
        self._subscribe(request, state, first=first)
        if not self._upstream:
            return actions + self._local(request.type_url)
        if not state.synced:
            return actions + self._sync(request.type_url)
        return actions + self._forward(request)

    def _answered(self, request: Request, state: _Type) -> list[Action]:
        """What an ACK or a NACK in this request means for what is kept."""
        response = self._sent.pop(request.response_nonce, None)
        if response is None:
            return []
        state.pending.discard(request.response_nonce)
        removed = [*response.removed_resources, *(entry.name for entry in response.removed_resource_names)]
        if request.HasField("error_detail"):
            # Envoy may have taken a part of it: nothing that it names is certain any more, and none of it is kept.
            for resource in response.resources:
                if state.known.get(resource.name) != resource.version:
                    state.known[resource.name] = UNSURE
            local = request.response_nonce.startswith("l:")
            if local:
                state.unfit.update(resource.name for resource in response.resources)
            refused: list[Action] = [Refused(request.type_url, request.error_detail.message, local)]
            return refused if local else refused + self._local(request.type_url)
        kept = self.last_good.setdefault(request.type_url, {})
        for resource in response.resources:
            state.known[resource.name] = resource.version
            state.unfit.discard(resource.name)
            kept[resource.name] = resource.SerializeToString()
        for name in removed:
            state.known.pop(name, None)
            kept.pop(name, None)
        if request.response_nonce.startswith("l:"):
            return []  # it was read from there
        if state.wildcard and state.synced:
            # Everything is asked for, so what Envoy was not given is not there any more (it was read from disk, then).
            for name in kept.keys() - state.known.keys():
                del kept[name]
        # An Envoy that goes on taking news is not shutting down: what it let go of is truly out of use.
        for type_url, names in self._orphans.items():
            for name in names:
                self.last_good.get(type_url, {}).pop(name, None)
        self._orphans = {}
        return [Accepted(request.type_url)]

    def _subscribe(self, request: Request, state: _Type, *, first: bool) -> None:
        subscribe, unsubscribe = set(request.resource_names_subscribe), set(request.resource_names_unsubscribe)
        if first:
            state.known = dict(request.initial_resource_versions)
            state.wildcard = request.type_url in _WILDCARD and not subscribe
        if "*" in subscribe:
            state.wildcard = True
        if "*" in unsubscribe:
            state.wildcard = False
        new = subscribe - {"*"}
        orphans = self._orphans.setdefault(request.type_url, set())
        for name in unsubscribe - {"*"}:
            state.names.discard(name)
            if not state.wants(name):
                state.known.pop(name, None)
                orphans.add(name)
        state.names |= new
        orphans -= new
        if not first:
            # Subscribing again asks again: Envoy may have dropped what it had.
            for name in new:
                state.known.pop(name, None)

    # -- the control plane's side ------------------------------------------------------------------------------------

    def on_upstream_opened(self) -> tuple[int, list[Action]]:
        """A new upstream stream, which replaces an older one. Returns its number, for the events that come from it."""
        self._streams += 1
        self._upstream = self._streams
        self._node_sent = self._heard = False
        for state in self._types.values():
            state.synced = False
        return self._upstream, [action for type_url in self._in_order() for action in self._sync(type_url)]

    def on_upstream_closed(self, stream: int) -> list[Action]:
        """The control plane is away: what Envoy waits for is answered from what was kept."""
        if stream != self._upstream:
            return []
        self._upstream = 0
        for state in self._types.values():
            state.synced = False
        return [action for type_url in self._in_order() for action in self._local(type_url)]

    def on_upstream_response(self, stream: int, response: Response) -> list[Action]:
        """News for Envoy. Of types that Envoy did not ask for, and of older streams, nothing is passed on."""
        state = self._types.get(response.type_url)
        if stream != self._upstream or state is None or not state.synced:
            return []
        self._heard = True
        if len(state.known.keys() | {resource.name for resource in response.resources}) > MAX_RESOURCES_OF_A_TYPE:
            return self._out_of_bounds(f"more than {MAX_RESOURCES_OF_A_TYPE} resources of {response.type_url}")
        if any(not 0 < len(resource.name) <= MAX_NAME_CHARACTERS for resource in response.resources):
            return self._out_of_bounds(f"a resource name of {response.type_url} that is empty or longer than {MAX_NAME_CHARACTERS}")
        self._nonces += 1
        response.nonce = f"u{stream}.{self._nonces}:{response.nonce}"
        return [self._send(response, state)]

    def _out_of_bounds(self, reason: str) -> list[Action]:
        return [*self.on_upstream_closed(self._upstream), CloseUpstream(reason)]

    # -- answers and requests ----------------------------------------------------------------------------------------

    def _in_order(self) -> Iterable[str]:
        rest = sorted(self._types.keys() - set(ORDER))
        return [*(type_url for type_url in ORDER if type_url in self._types), *rest]

    def _send(self, response: Response, state: _Type) -> ToEnvoy:
        self._sent[response.nonce] = response
        state.pending.add(response.nonce)
        state.answered = True
        return ToEnvoy(response)

    def _local(self, type_url: str) -> list[Action]:
        """What Envoy asked for and does not have, as far as it was kept; silence for the rest, so that Envoy waits."""
        state = self._types[type_url]
        kept = self.last_good.get(type_url)
        if kept is None:
            return []
        on_the_way = {r.name for nonce in state.pending for r in self._sent[nonce].resources}
        names = kept.keys() if state.wildcard else kept.keys() & state.names
        missing = sorted(name for name in names if state.lacks(name) and name not in on_the_way | state.unfit)
        if not missing and (not state.wildcard or state.answered):
            return []
        self._nonces += 1
        response = Response(type_url=type_url, nonce=f"l:{self._nonces}")
        for name in missing:
            response.resources.add().ParseFromString(kept[name])
        return [self._send(response, state)]

    def _sync(self, type_url: str) -> list[Action]:
        """Tell the upstream stream of a subscription and of what Envoy has, once Envoy has answered what is on its way."""
        state = self._types[type_url]
        if state.pending:
            return []
        state.synced = True
        request = self._upstream_request(type_url)
        # "*" has to be said where names stand beside it; alone it is the empty list, which older control planes know.
        names = sorted(state.names)
        request.resource_names_subscribe.extend(["*", *names] if state.wildcard and (names or type_url not in _WILDCARD) else names)
        kept = self.last_good.get(type_url, {})
        for name, version in state.known.items():
            # Only what is on disk as well is claimed: the rest is to be sent again, or else it would never be kept.
            request.initial_resource_versions[name] = version if _version(kept.get(name)) == version else UNSURE
        return [ToUpstream(request)]

    def _forward(self, request: Request) -> list[Action]:
        """Pass a request on, without a nonce that the upstream stream did not give out."""
        prefix = f"u{self._upstream}."
        passed = self._upstream_request(request.type_url)
        passed.resource_names_subscribe.extend(request.resource_names_subscribe)
        passed.resource_names_unsubscribe.extend(request.resource_names_unsubscribe)
        if request.response_nonce.startswith(prefix):
            passed.response_nonce = request.response_nonce.partition(":")[2]
            if request.HasField("error_detail"):
                passed.error_detail.CopyFrom(request.error_detail)
        elif not passed.resource_names_subscribe and not passed.resource_names_unsubscribe:
            return []
        return [ToUpstream(passed)]

    def _upstream_request(self, type_url: str) -> Request:
        request = Request(type_url=type_url)
        if not self._node_sent and self._node is not None:
            request.node.CopyFrom(self._node)
            self._node_sent = True
        return request


def _version(resource: bytes | None) -> str:
    """The version of a kept resource; empty when there is none."""
    return Resource.FromString(resource).version if resource is not None else ""
