"""Where Envoy finds the agent: ADS and SDS on a Unix socket.

Drives `relay.Relay` and `sds.SecretStream`; decides nothing itself.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncIterator, Callable, Iterable
from pathlib import Path
from typing import Any

import grpc

from protos.picket.v1.xds_pb2 import DeltaDiscoveryRequest as Request
from protos.picket.v1.xds_pb2 import DeltaDiscoveryResponse as Response
from sidecar.actions import Accepted, Action, CloseUpstream, Refused, ToEnvoy, ToUpstream
from sidecar.race import first
from sidecar.relay import Relay
from sidecar.sds import SecretStream

ADS = "envoy.service.discovery.v3.AggregatedDiscoveryService"
SDS = "envoy.service.secret.v3.SecretDiscoveryService"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
#: Responses that Envoy has not taken from its stream. A control plane that piles up more is cut off.
MAX_QUEUED = 1024
STOP_GRACE_SECONDS = 0.5
_log = logging.getLogger("picket.relay")

Context = grpc.aio.ServicerContext[Any, Any]


class RelayServerError(Exception):
    """The socket cannot be made; the message says why."""


class Upstream:
    """One stream to the control plane, as the relay sees it: requests to send, and a wish to end it."""

    def __init__(self) -> None:
        self.requests: asyncio.Queue[Request] = asyncio.Queue()
        self.closed = asyncio.Event()
        self.reason = ""
        self.number = 0


class RelayServer:
    """Serves one Envoy, and hands its subscriptions to whoever holds the stream to the control plane."""

    def __init__(self, relay: Relay, path: Path, *, owner: tuple[int, int] | None, accepted: Callable[[str], None]) -> None:
        """``owner`` is Envoy's user and group where they are not the agent's; ``accepted`` hears the type of what is to be kept."""
        self._relay = relay
        self._path = path
        self._owner = owner
        self._accepted = accepted
        self._server: grpc.aio.Server | None = None
        self._to_envoy: asyncio.Queue[Response] = asyncio.Queue()
        self._stopping = asyncio.Event()
        self._replaced: asyncio.Event | None = None  # of Envoy's stream: set when a newer one begins
        self._present = asyncio.Event()
        self._upstream: Upstream | None = None
        self._secret = ("", b"")
        self._secret_streams: dict[SecretStream, asyncio.Queue[Response]] = {}

    async def start(self) -> None:
        """Listen.

        Raises:
            RelayServerError: the socket cannot be made there.
        """
        server = grpc.aio.server(
            options=[("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.max_send_message_length", -1)]
        )
        handlers = (_service(ADS, "DeltaAggregatedResources", self._ads), _service(SDS, "DeltaSecrets", self._sds))
        server.add_generic_rpc_handlers(handlers)
        try:
            self._path.unlink(missing_ok=True)
            server.add_insecure_port(f"unix:{self._path}")
            await server.start()
            self._path.chmod(0o600)
            if self._owner is not None:
                os.chown(self._path, *self._owner)
        except (OSError, RuntimeError) as error:
            await server.stop(None)
            raise RelayServerError(f"{self._path}: the agent cannot listen there: {error}") from error
        self._server = server

    async def stop(self) -> None:
        """End every stream and remove the socket."""
        self._stopping.set()
        if self._server is not None:
            await self._server.stop(STOP_GRACE_SECONDS)
        self._path.unlink(missing_ok=True)

    def set_identity(self, version: str, secret: bytes) -> None:
        """Give Envoy a new certificate and key (`sds.identity_secret`)."""
        self._secret = (version, secret)
        for stream, queue in self._secret_streams.items():
            for response in stream.on_identity(version, secret):
                queue.put_nowait(response)

    # -- the control plane's side, called by the uplink --------------------------------------------------------------

    async def wanted(self) -> None:
        """Return when Envoy has subscribed to something: before that there is nothing to ask the control plane for."""
        await self._present.wait()

    @property
    def starved(self) -> bool:
        """See `Relay.starved`."""
        return self._relay.starved

    def open_upstream(self) -> Upstream:
        """A stream to the control plane is open; it replaces an older one."""
        if self._upstream is not None:
            self._upstream.closed.set()
        self._upstream = upstream = Upstream()
        upstream.number, actions = self._relay.on_upstream_opened()
        self._act(actions)
        return upstream

    def upstream_response(self, upstream: Upstream, response: Response) -> None:
        """The control plane sent something."""
        self._act(self._relay.on_upstream_response(upstream.number, response))

    def upstream_closed(self, upstream: Upstream) -> None:
        """The stream to the control plane ended."""
        if self._upstream is upstream:
            self._upstream = None
        self._act(self._relay.on_upstream_closed(upstream.number))

    # -- Envoy's side ------------------------------------------------------------------------------------------------

    async def _ads(self, requests: AsyncIterator[Request], context: Context) -> None:
        """Envoy's stream; a newer one ends it, because only one Envoy runs at a time."""
        if self._replaced is not None:
            self._replaced.set()
        self._replaced = replaced = asyncio.Event()
        queue = self._to_envoy = asyncio.Queue()
        self._present.clear()
        self._act(self._relay.on_envoy_opened())
        _log.info("envoy connected")
        try:
            await first(_until(self._stopping), _until(replaced), self._read(requests), _write(queue, context))
        finally:
            if self._replaced is replaced:
                self._replaced = None
                self._present.clear()
                self._act(self._relay.on_envoy_closed())
                _log.info("envoy disconnected")

    async def _read(self, requests: AsyncIterator[Request]) -> None:
        async for request in requests:
            self._act(self._relay.on_envoy_request(request))
            if self._relay.envoy_present:
                self._present.set()

    async def _sds(self, requests: AsyncIterator[Request], context: Context) -> None:
        stream, queue = SecretStream(), asyncio.Queue[Response]()
        self._secret_streams[stream] = queue
        stream.on_identity(*self._secret)
        try:
            await first(_until(self._stopping), _read_secrets(requests, stream, queue), _write(queue, context))
        finally:
            del self._secret_streams[stream]

    def _act(self, actions: Iterable[Action]) -> None:
        for action in actions:
            match action:
                case ToEnvoy(response):
                    self._to_envoy.put_nowait(response)
                case ToUpstream(request):
                    if self._upstream is not None:
                        self._upstream.requests.put_nowait(request)
                case Accepted(type_url):
                    self._accepted(type_url)
                case Refused(type_url, message, local):
                    kind = type_url.rpartition(".")[2]
                    _log.error("envoy refused configuration type=%s local=%s reason=%r", kind, local, message[:500])
                case CloseUpstream(reason):
                    self._close_upstream(reason)
        if self._to_envoy.qsize() > MAX_QUEUED and self._upstream is not None:
            upstream = self._upstream
            self._close_upstream(f"more than {MAX_QUEUED} responses that Envoy has not read")
            self._act(self._relay.on_upstream_closed(upstream.number))

    def _close_upstream(self, reason: str) -> None:
        upstream, self._upstream = self._upstream, None
        if upstream is not None:
            upstream.reason = reason
            upstream.closed.set()


async def _read_secrets(requests: AsyncIterator[Request], stream: SecretStream, queue: asyncio.Queue[Response]) -> None:
    async for request in requests:
        for response in stream.on_request(request):
            queue.put_nowait(response)
        if stream.refused:
            _log.error("envoy refused the identity reason=%r", stream.refused[:500])


async def _until(happened: asyncio.Event) -> None:
    await happened.wait()


async def _write(queue: asyncio.Queue[Response], context: Context) -> None:
    while True:
        await context.write(await queue.get())


def _service(name: str, method: str, handler: Callable[[AsyncIterator[Request], Context], Any]) -> grpc.GenericRpcHandler:
    return grpc.method_handlers_generic_handler(
        name,
        {
            method: grpc.stream_stream_rpc_method_handler(
                handler,
                request_deserializer=Request.FromString,
                response_serializer=Response.SerializeToString,
            )
        },
    )
