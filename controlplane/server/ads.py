"""The aggregated discovery service on `grpc.aio`: drives the state machine of `xds.subscription`. Decides nothing itself.

A sidecar gets only its own configuration: the identity that TLS proved chooses it, and a node that claims to be another
is refused.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Protocol

import grpc
import structlog
from envoy.service.discovery.v3 import discovery_pb2

from controlplane.identity.spiffe import WorkloadId
from controlplane.server import codec
from controlplane.server.authentication import Authenticator, Unauthenticated, node_workload
from controlplane.server.snapshots import SnapshotCache
from controlplane.xds import types
from controlplane.xds.snapshot import Snapshot
from controlplane.xds.subscription import (
    Acked,
    DeltaResponse,
    DeltaStream,
    Event,
    Nacked,
    ProtocolError,
    SotwResponse,
    SotwStream,
)

SERVICE = "envoy.service.discovery.v3.AggregatedDiscoveryService"
_log = structlog.get_logger("picket.ads")


@dataclass(frozen=True, slots=True)
class StreamId:
    """One sidecar's stream."""

    workload: WorkloadId
    instance: str


class Observer(Protocol):
    """Hears what happens to streams, to keep each sidecar's state and the metrics."""

    def connected(self, stream: StreamId, snapshot: Snapshot) -> None:
        """A stream began."""

    def sent(self, stream: StreamId, type_url: str, size_bytes: int, snapshot: Snapshot) -> None:
        """A response went out."""

    def answered(self, stream: StreamId, event: Acked | Nacked, snapshot: Snapshot, *, settled: bool) -> None:
        """The sidecar took a response, or refused it."""

    def disconnected(self, stream: StreamId) -> None:
        """A stream ended."""

    def refused(self, peer: str, claimed: str, reason: str) -> None:
        """A peer asked for what is not its own."""


class AggregatedDiscovery:
    """Serves delta and state-of-the-world streams from one snapshot cache."""

    def __init__(self, cache: SnapshotCache, authenticator: Authenticator, observer: Observer) -> None:
        self._cache = cache
        self._authenticator = authenticator
        self._observer = observer

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service's methods. Responses are bytes already: nothing is serialised per stream."""
        return grpc.method_handlers_generic_handler(
            SERVICE,
            {
                "DeltaAggregatedResources": grpc.stream_stream_rpc_method_handler(
                    self._delta, request_deserializer=discovery_pb2.DeltaDiscoveryRequest.FromString
                ),
                "StreamAggregatedResources": grpc.stream_stream_rpc_method_handler(
                    self._sotw, request_deserializer=discovery_pb2.DiscoveryRequest.FromString
                ),
            },
        )

    async def _delta(
        self, requests: AsyncIterator[discovery_pb2.DeltaDiscoveryRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        await self._serve(requests, context, DeltaStream, codec.delta_request)

    async def _sotw(
        self, requests: AsyncIterator[discovery_pb2.DiscoveryRequest], context: grpc.aio.ServicerContext[Any, Any]
    ) -> None:
        await self._serve(requests, context, SotwStream, codec.sotw_request)

    async def _serve(
        self,
        requests: AsyncIterator[Any],
        context: grpc.aio.ServicerContext[Any, Any],
        machine_of: Callable[[Snapshot], Any],
        decode: Callable[[Any], Any],
    ) -> None:
        first = await anext(aiter(requests), None)
        if first is None:
            return
        stream = await self._identify(first.node.id, context)
        changed = asyncio.Event()
        snapshot = self._cache.subscribe(stream.workload, changed)
        if snapshot is None:
            self._observer.refused(str(stream.workload), first.node.id, "unknown workload")
            await context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"no service in the topology has the workload {stream.workload}; add it to the control plane's topology",
            )
            return
        machine = machine_of(snapshot)
        self._observer.connected(stream, snapshot)
        try:
            await self._emit(machine.on_request(decode(first)), machine, snapshot, stream, context)
            await self._converse(requests, decode, machine, snapshot, stream, changed, context)
        finally:
            self._cache.unsubscribe(stream.workload, changed)
            self._observer.disconnected(stream)

    async def _converse(
        self,
        requests: AsyncIterator[Any],
        decode: Callable[[Any], Any],
        machine: Any,
        snapshot: Snapshot,
        stream: StreamId,
        changed: asyncio.Event,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        """Requests and changes, whichever comes first, one at a time."""
        latest = snapshot
        lock = asyncio.Lock()

        async def follow_changes() -> None:
            nonlocal latest
            while True:
                await changed.wait()
                changed.clear()
                async with lock:
                    latest = self._cache.current(stream.workload)
                    await self._emit(machine.on_snapshot(latest), machine, latest, stream, context)

        follower = asyncio.create_task(follow_changes())
        try:
            async for request in requests:
                async with lock:
                    await self._emit(machine.on_request(decode(request)), machine, latest, stream, context)
        finally:
            follower.cancel()
            await asyncio.wait((follower,))

    async def _identify(self, node_id: str, context: grpc.aio.ServicerContext[Any, Any]) -> StreamId:
        peer = self._authenticator.peer(context)
        if isinstance(peer, Unauthenticated):
            self._observer.refused("", node_id, peer.reason)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, peer.reason)
            raise AssertionError("abort returns never")
        claimed = node_workload(node_id)
        if claimed != str(peer.workload):
            reason = f"{peer.workload} asked for the configuration of {claimed or node_id[:80]!r}; a sidecar gets only its own"
            self._observer.refused(str(peer.workload), node_id, reason)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED, reason)
        return StreamId(peer.workload, node_id.rsplit("~", 1)[-1][:128])

    async def _emit(
        self,
        events: list[Event],
        machine: Any,
        snapshot: Snapshot,
        stream: StreamId,
        context: grpc.aio.ServicerContext[Any, Any],
    ) -> None:
        for event in events:
            if isinstance(event, DeltaResponse | SotwResponse):
                body = codec.delta_response(event) if isinstance(event, DeltaResponse) else codec.sotw_response(event)
                self._observer.sent(stream, event.type_url, len(body), snapshot)
                await context.write(body)
            elif isinstance(event, ProtocolError):
                await context.abort(grpc.StatusCode.INVALID_ARGUMENT, event.message)
            else:
                if isinstance(event, Nacked):
                    _log.warning("nack", sidecar=str(stream.workload), instance=stream.instance,
                                 type=types.SHORT_NAMES[event.type_url], message=event.message[:500])
                self._observer.answered(stream, event, snapshot, settled=machine.settled)
