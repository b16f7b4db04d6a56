"""The aggregated discovery service on `grpc.aio`: drives the state machines of `xds.delta` and `xds.sotw`. Decides nothing itself.

A sidecar gets only its own configuration: the identity that TLS proved chooses it, and a node that claims to be another
is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

import grpc
import structlog

from controlplane.identity.spiffe import WorkloadId
from controlplane.server import codec
from controlplane.server.authentication import Authenticated, Authenticator, Unauthenticated, read_node
from controlplane.server.instances import Instances
from controlplane.server.snapshots import SnapshotCache
from controlplane.server.streams import Ending, Life, OpenStreams
from controlplane.workflow.publish import CompileError
from controlplane.xds import types
from controlplane.xds.delta import DeltaStream
from controlplane.xds.snapshot import Snapshot
from controlplane.xds.sotw import SotwStream
from controlplane.xds.subscription import Acked, DeltaResponse, Event, Nacked, ProtocolError, SotwResponse

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
#: A peer that opened a stream says this soon what it wants.
FIRST_REQUEST_SECONDS = 10.0
#: A write that is under way when the stream is to end has this long; a peer that takes nothing has gone.
LAST_WRITE_SECONDS = 5.0
_BROKEN = Ending(grpc.StatusCode.INTERNAL, "the control plane failed on this stream; its log says why")
_log = structlog.get_logger("picket.ads")

Context = grpc.aio.ServicerContext[Any, Any]


class StreamId:
    """One sidecar's stream. ``workload_name`` is the workload as text, ``issuer`` names the key that signed its certificate."""

    __slots__ = ("instance", "issuer", "workload", "workload_name")

    def __init__(self, workload: WorkloadId, instance: str, issuer: str = "") -> None:
        self.workload = workload
        self.workload_name = str(workload)
        self.instance = instance
        self.issuer = issuer


class Observer(Protocol):
    """Hears what happens to streams, to keep each sidecar's state and the metrics."""

    def connected(self, stream: StreamId, snapshot: Snapshot) -> None:
        """A stream began."""

    def sent(self, stream: StreamId, type_url: str, size_bytes: int, snapshot: Snapshot) -> None:
        """A response went out."""

    def answered(self, stream: StreamId, event: Acked | Nacked, snapshot: Snapshot, *, settled: bool) -> None:
        """The sidecar took a response, or refused it. ``settled`` when it now has the whole snapshot."""

    def unchanged(self, stream: StreamId, snapshot: Snapshot) -> None:
        """A newer revision asks for nothing else than what the sidecar runs."""

    def disconnected(self, stream: StreamId) -> None:
        """A stream ended."""

    def refused(self, peer: str, claimed: str, reason: str) -> None:
        """A peer asked for what is not its own."""


class _Conversation:
    """What one stream's reader and follower share. Implements `snapshots.Follower`."""

    __slots__ = ("_writing", "context", "lock", "machine", "news", "observer", "snapshot", "stream")

    def __init__(self, stream: StreamId, context: Context, observer: Observer) -> None:
        self.stream = stream
        self.context = context
        self.observer = observer
        self.news = asyncio.Event()
        self.lock = asyncio.Lock()
        self.machine: Any = None
        self.snapshot: Snapshot
        self._writing: asyncio.Future[None] | None = None

    async def write(self, body: bytes) -> None:
        """Send; it goes on when whoever waits is interrupted, for gRPC cannot end a stream with half a write."""
        self._writing = asyncio.ensure_future(self.context.write(body))
        await asyncio.shield(self._writing)

    async def written(self) -> None:
        """Wait for the write that is under way, if any."""
        if self._writing is not None and not self._writing.done():
            await asyncio.wait((self._writing,), timeout=LAST_WRITE_SECONDS)

    def changed(self) -> None:
        """There is another snapshot to send."""
        self.news.set()

    def confirmed(self, snapshot: Snapshot) -> None:
        """A newer revision asks for the same content; where a change is still on its way, that brings the revision along."""
        if self.snapshot.resources is snapshot.resources:
            self.snapshot = snapshot
            if self.machine.settled:
                self.observer.unchanged(self.stream, snapshot)


class AggregatedDiscovery:
    """Serves delta and state-of-the-world streams from one snapshot cache."""

    def __init__(
        self,
        cache: SnapshotCache,
        authenticator: Authenticator,
        observer: Observer,
        streams: OpenStreams | None = None,
        instances: Instances | None = None,
    ) -> None:
        self._cache = cache
        self._authenticator = authenticator
        self._observer = observer
        self._streams = streams or OpenStreams()
        self._instances = instances or Instances()

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service's methods. Requests and responses are bytes: nothing is serialised per stream."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(self._delta),
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(self._sotw),
            },
        )

    async def _delta(self, _: object, context: Context) -> None:
        await self._serve(context, DeltaStream, codec.delta_request)

    async def _sotw(self, _: object, context: Context) -> None:
        await self._serve(context, SotwStream, codec.sotw_request)

    async def _serve(self, context: Context, machine_of: Callable[[Snapshot], Any], decode: Callable[[bytes], Any]) -> None:
        peer = self._authenticator.peer(context)
        if isinstance(peer, Unauthenticated):
            self._observer.refused("", "", peer.reason)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, peer.reason)
        refusal = self._streams.refusal(peer.workload)
        if refusal is not None:
            _log.warning("stream refused", sidecar=str(peer.workload), reason=refusal.reason)
            await context.abort(refusal.code, refusal.reason)
        async with self._streams.life(peer) as life:
            await self._talk(peer, life, context, machine_of, decode)
        if life.ending is not None:
            await context.abort(life.ending.code, life.ending.reason)

    async def _talk(
        self,
        peer: Authenticated,
        life: Life,
        context: Context,
        machine_of: Callable[[Snapshot], Any],
        decode: Callable[[bytes], Any],
    ) -> None:
        try:
            async with asyncio.timeout(FIRST_REQUEST_SECONDS):
                body = await context.read()
        except TimeoutError:
            await context.abort(grpc.StatusCode.DEADLINE_EXCEEDED, f"no request within {FIRST_REQUEST_SECONDS:.0f} s")
        if body is grpc.aio.EOF:
            return
        node_id, request = await _decoded(decode, body, context)
        stream = await self._identify(peer, node_id, context)
        talk = _Conversation(stream, context, self._observer)
        try:
            snapshot = self._cache.follow(stream.workload, talk, stream.instance)
        except CompileError as error:
            _log.error("snapshot not compiled", workload=stream.workload_name, error=str(error))
            await context.abort(
                grpc.StatusCode.INTERNAL, f"the configuration of {stream.workload} does not compile; the log here says why"
            )
        if snapshot is None:
            self._observer.refused(stream.workload_name, node_id, "unknown workload")
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"no service in the topology has the workload {stream.workload}; add it to the control plane's topology",
            )
        talk.snapshot, talk.machine = snapshot, machine_of(snapshot)
        self._observer.connected(stream, snapshot)
        try:
            await self._answer(talk, request)
            await self._converse(talk, decode, life)
        finally:
            self._cache.leave(stream.workload, talk)
            self._observer.disconnected(stream)
            await talk.written()

    async def _converse(self, talk: _Conversation, decode: Callable[[bytes], Any], life: Life) -> None:
        """Requests and changes, whichever comes first, one at a time."""
        follower = asyncio.create_task(self._follow(talk))
        follower.add_done_callback(lambda ended: None if ended.cancelled() else life.end(_BROKEN))
        try:
            while (body := await talk.context.read()) is not grpc.aio.EOF:
                async with talk.lock:
                    _, request = await _decoded(decode, body, talk.context)
                    await self._answer(talk, request)
        finally:
            follower.cancel()
            await asyncio.wait((follower,))
            if not follower.cancelled() and (error := follower.exception()) is not None:
                _log.error("stream broken", sidecar=talk.stream.workload_name, instance=talk.stream.instance, error=repr(error))

    async def _answer(self, talk: _Conversation, request: Any) -> None:
        events = talk.machine.on_request(request)
        await self._emit(talk, events)
        # Who comes back with all of it is sent nothing that it could take.
        if not events and talk.machine.settled:
            self._observer.unchanged(talk.stream, talk.snapshot)

    async def _follow(self, talk: _Conversation) -> None:
        """Send what changes, for ever. While a sidecar is slow to take something, changes wait and merge."""
        while True:
            await talk.news.wait()
            async with talk.lock:
                talk.news.clear()
                talk.snapshot = self._cache.current(talk.stream.workload, talk.stream.instance)
                events = talk.machine.on_snapshot(talk.snapshot)
                await self._emit(talk, events)
                # What was asked for may be the same, though the snapshot is not; then no answer will come to say so.
                if not events and talk.machine.settled:
                    self._observer.unchanged(talk.stream, talk.snapshot)

    async def _identify(self, peer: Authenticated, node_id: str, context: Context) -> StreamId:
        node = read_node(node_id)
        if node is None:
            self._observer.refused(str(peer.workload), node_id, "not a node ID")
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "node.id: sidecar~namespace/account~instance is wanted")
        if node.workload != str(peer.workload):
            reason = f"{peer.workload} asked for the configuration of {node.workload[:130]!r}; a sidecar gets only its own"
            self._observer.refused(str(peer.workload), node_id, reason)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
        refusal = self._instances.refusal(peer.workload, node.instance)
        if refusal is not None:
            self._observer.refused(str(peer.workload), node_id, refusal.reason)
            await context.abort(refusal.code, refusal.reason)
        return StreamId(peer.workload, node.instance, peer.issuer)

    async def _emit(self, talk: _Conversation, events: list[Event]) -> None:
        for event in events:
            if isinstance(event, DeltaResponse | SotwResponse):
                body = codec.delta_response(event) if isinstance(event, DeltaResponse) else codec.sotw_response(event)
                self._observer.sent(talk.stream, event.type_url, len(body), talk.snapshot)
                await talk.write(body)
            elif isinstance(event, ProtocolError):
                await talk.context.abort(grpc.StatusCode.INVALID_ARGUMENT, event.message)
            else:
                if isinstance(event, Nacked):
                    _log.warning("nack", sidecar=talk.stream.workload_name, instance=talk.stream.instance,
                                 type=types.SHORT_NAMES[event.type_url], message=event.message[:500])  # fmt: skip
                self._observer.answered(talk.stream, event, talk.snapshot, settled=talk.machine.settled)


async def _decoded(decode: Callable[[bytes], Any], body: bytes, context: Context) -> tuple[str, Any]:
    """The node's ID and the request; the stream ends where they do not read."""
    read = decode(body)
    if isinstance(read, codec.BadRequest):
        await context.abort(grpc.StatusCode.INVALID_ARGUMENT, read.reason)
    node_id, request = read
    return node_id, request
