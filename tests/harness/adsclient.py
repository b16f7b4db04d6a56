"""Fake ADS clients on `grpc.aio`: subscribe, keep what comes, answer it. Light enough that one process holds a thousand.

Each client has a connection of its own, as sidecars have. Nothing is decoded but the discovery message around resources.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from contextlib import suppress
from typing import Any

import grpc
from envoy.service.discovery.v3.discovery_pb2 import (
    DeltaDiscoveryRequest,
    DeltaDiscoveryResponse,
    DiscoveryRequest,
    DiscoveryResponse,
)

from controlplane.server.ads import SERVICE
from controlplane.server.authentication import INSECURE_PEER_KEY
from controlplane.xds import types

Metadata = tuple[tuple[str, str], ...]
#: What an Envoy asks for by itself; the other types it asks for by name. ``*`` asks for all of any type.
EVERYTHING = tuple((type_url, () if type_url in types.WILDCARD else ("*",)) for type_url in types.PUSH_ORDER)


def connect(
    target: str, credentials: grpc.ChannelCredentials | None = None, server_name: str = "picket-controlplane"
) -> grpc.aio.Channel:
    """A channel that shares no connection with another."""
    options = [("grpc.use_local_subchannel_pool", 1), ("grpc.max_receive_message_length", -1)]
    if credentials is None:
        return grpc.aio.insecure_channel(target, options=options)
    return grpc.aio.secure_channel(target, credentials, options=[*options, ("grpc.ssl_target_name_override", server_name)])


def claim(uri: str) -> Metadata:
    """What an insecure control plane wants to hear."""
    return ((INSECURE_PEER_KEY, uri),)


class _Client:
    """What both kinds share: a call, a task that reads, and waiting for what is held."""

    _METHOD: str
    _RESPONSE: Any

    def __init__(self, channel: grpc.aio.Channel, node_id: str, metadata: Metadata = ()) -> None:
        self._node_id = node_id
        method: grpc.aio.StreamStreamMultiCallable[Any, Any] = channel.stream_stream(f"/{SERVICE}/{self._METHOD}")
        self._call = method(metadata=metadata or None)
        self._node_sent = False
        self._changed = asyncio.Condition()
        self._writing = asyncio.Lock()
        self._reader: asyncio.Task[None] | None = None
        #: Type -> name -> version (delta), or type -> name -> bytes of the resource (state of the world).
        self.held: dict[str, dict[str, Any]] = {}
        #: What ended the stream, if it did not end well.
        self.error: grpc.aio.AioRpcError | None = None
        self._over = False
        self.responses = 0
        self.bytes = 0
        #: Says why a response is refused; empty takes it.
        self.refuse: Callable[[Any], str] = lambda _: ""
        #: Hears of each response before it is answered.
        self.arrived: Callable[[Any], None] = lambda _: None
        self.answering = asyncio.Event()
        self.answering.set()

    async def until(self, met: Callable[[], bool], timeout_seconds: float = 20.0) -> None:
        """Return when something that is held or counted is as wanted; raise what ended the stream before that."""
        self._read_in_background()
        async with asyncio.timeout(timeout_seconds), self._changed:
            while not met():
                if self._over:
                    raise self.error or AssertionError("the server ended the stream")
                await self._changed.wait()

    async def ended(self, timeout_seconds: float = 20.0) -> grpc.aio.AioRpcError | None:
        """What ended the stream; ``None`` when the server ended it well."""
        self._read_in_background()
        async with asyncio.timeout(timeout_seconds), self._changed:
            while not self._over:
                await self._changed.wait()
        return self.error

    async def half_close(self) -> None:
        """Say that nothing more is asked."""
        with suppress(asyncio.InvalidStateError):
            async with self._writing:
                await self._call.done_writing()

    async def close(self) -> None:
        """End the stream as a client that went away."""
        self._call.cancel()
        if self._reader is not None:
            await asyncio.wait((self._reader,))

    async def send(self, body: bytes) -> None:
        """Send bytes as they are; on a stream that is over they are lost, and `until` and `ended` say why."""
        with suppress(asyncio.InvalidStateError):
            async with self._writing:
                await self._call.write(body)

    def names(self, type_url: str) -> list[str]:
        """The names that are held of a type."""
        return sorted(self.held.get(type_url, ()))

    def _read_in_background(self) -> None:
        if self._reader is None:
            self._reader = asyncio.create_task(self._read())

    async def _read(self) -> None:
        try:
            while isinstance(body := await self._call.read(), bytes):
                self.responses += 1
                self.bytes += len(body)
                response = self._RESPONSE.FromString(body)
                self.arrived(response)
                if not self.answering.is_set():
                    await self._tell()
                    await self.answering.wait()
                await self._answer(response)
                await self._tell()
        except grpc.aio.AioRpcError as error:
            self.error = error
        except asyncio.CancelledError:
            pass  # by `close`
        code = await self._call.code()
        if self.error is None and code is not grpc.StatusCode.OK:
            metadata = grpc.aio.Metadata()
            self.error = grpc.aio.AioRpcError(code, metadata, metadata, await self._call.details())
        self._over = True
        await self._tell()

    async def _tell(self) -> None:
        async with self._changed:
            self._changed.notify_all()

    async def _answer(self, response: Any) -> None:
        raise NotImplementedError


class DeltaClient(_Client):
    """One delta stream."""

    _METHOD = "DeltaAggregatedResources"
    _RESPONSE = DeltaDiscoveryResponse

    async def subscribe(self, type_url: str, names: Sequence[str] = (), versions: dict[str, str] | None = None) -> None:
        """Ask for resources of a type; no names on clusters and listeners asks for all. ``versions`` are held already."""
        self._read_in_background()
        if versions:
            self.held.setdefault(type_url, {}).update(versions)
        request = DeltaDiscoveryRequest(type_url=type_url, resource_names_subscribe=names, initial_resource_versions=versions)
        await self._send(request)

    async def unsubscribe(self, type_url: str, names: Sequence[str]) -> None:
        """Ask for these no more."""
        await self._send(DeltaDiscoveryRequest(type_url=type_url, resource_names_unsubscribe=names))

    async def subscribe_to_everything(self) -> None:
        """Ask for every type, in the order in which they are pushed."""
        for type_url, names in EVERYTHING:
            await self.subscribe(type_url, names)

    async def _send(self, request: DeltaDiscoveryRequest) -> None:
        if not self._node_sent:
            self._node_sent = True
            request.node.id = self._node_id
        await self.send(request.SerializeToString())

    async def _answer(self, response: Any) -> None:
        answer = DeltaDiscoveryRequest(type_url=response.type_url, response_nonce=response.nonce)
        refusal = self.refuse(response)
        if refusal:
            answer.error_detail.message = refusal
            answer.error_detail.code = 13
        else:
            held = self.held.setdefault(response.type_url, {})
            held.update((resource.name, resource.version) for resource in response.resources)
            for name in response.removed_resources:
                held.pop(name, None)
        await self.send(answer.SerializeToString())


class SotwClient(_Client):
    """One state-of-the-world stream."""

    _METHOD = "StreamAggregatedResources"
    _RESPONSE = DiscoveryResponse

    def __init__(self, channel: grpc.aio.Channel, node_id: str, metadata: Metadata = ()) -> None:
        super().__init__(channel, node_id, metadata)
        self._names: dict[str, Sequence[str]] = {}
        self._accepted: dict[str, str] = {}

    async def subscribe(self, type_url: str, names: Sequence[str] = (), version: str = "") -> None:
        """Ask for exactly these resources of a type; no names on clusters and listeners asks for all."""
        self._read_in_background()
        self._names[type_url] = names
        self._accepted.setdefault(type_url, version)
        await self._send(DiscoveryRequest(type_url=type_url, resource_names=names, version_info=self._accepted[type_url]))

    async def _send(self, request: DiscoveryRequest) -> None:
        if not self._node_sent:
            self._node_sent = True
            request.node.id = self._node_id
        await self.send(request.SerializeToString())

    async def _answer(self, response: Any) -> None:
        refusal = self.refuse(response)
        if not refusal:
            self._accepted[response.type_url] = response.version_info
            self.held[response.type_url] = {_name_of(resource.value): resource.value for resource in response.resources}
        answer = DiscoveryRequest(
            type_url=response.type_url,
            resource_names=self._names[response.type_url],
            version_info=self._accepted[response.type_url],
            response_nonce=response.nonce,
        )
        if refusal:
            answer.error_detail.message = refusal
        await self.send(answer.SerializeToString())


def _name_of(resource: bytes) -> str:
    """A resource's own name: field 1 in each of the served types, and so in front of its bytes."""
    assert resource[0] == 0x0A
    assert resource[1] < 0x80, "a name of 128 characters and more is not read here"
    return resource[2 : 2 + resource[1]].decode()
