"""gRPC channels to the control plane, and what their errors mean. Never sends a message.

Encrypted and authenticated on both sides, except where the sidecar was told ``--insecure``; `settings` has made sure that
such a channel does not leave the machine.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any, Generic, TypeVar

import grpc
from google.protobuf.message import Message

from sidecar.identity import Identity
from sidecar.join import Join

#: The metadata key by which the peer of a plaintext channel says who it is; the control plane reads it with --insecure only.
INSECURE_PEER_KEY = "picket-insecure-peer"
MAX_MESSAGE_BYTES = 64 * 1024 * 1024
#: A control plane that is dead, and not merely quiet, is noticed after the sum of both.
KEEPALIVE_SECONDS, KEEPALIVE_TIMEOUT_SECONDS = 10, 5
CONNECT_TIMEOUT_SECONDS = 5

#: Trying again helps only after a person changed something.
_LASTING = frozenset({
    grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.FAILED_PRECONDITION, grpc.StatusCode.OUT_OF_RANGE,
})  # fmt: skip
Metadata = tuple[tuple[str, str], ...]
Response = TypeVar("Response", bound=Message)


class CallError(Exception):
    """A call failed or ended. ``lasting`` says that the same call would fail the same way in a moment."""

    def __init__(self, code: grpc.StatusCode, details: str) -> None:
        super().__init__(f"{code.name}: {' '.join(details.split())[:500]}")
        self.code = code
        self.lasting = code in _LASTING


class Stream(Generic[Response]):
    """A call that sends and receives. ``close`` it when done."""

    def __init__(self, call: grpc.aio.StreamStreamCall[Any, Response]) -> None:
        self._call = call

    async def send(self, message: Any) -> None:
        """Send; on a call that has ended this waits for ever, because `receive` is the one to tell why."""
        try:
            await self._call.write(message)
        except (asyncio.InvalidStateError, grpc.aio.AioRpcError):
            await asyncio.Event().wait()

    async def receive(self) -> Response:
        """The next message.

        Raises:
            CallError: there is none; the call has ended.
        """
        try:
            message = await self._call.read()
            if message is not grpc.aio.EOF:
                return message  # type: ignore[return-value]  # EOF has no type of its own
            raise CallError(await self._call.code(), await self._call.details() or "ended by the control plane")
        except grpc.aio.AioRpcError as error:
            raise _wrapped(error) from error

    def close(self) -> None:
        """End the call."""
        self._call.cancel()


async def call_once(
    opened: grpc.aio.Channel,
    method: str,
    request: Message,
    response: type[Response],
    *,
    metadata: Metadata | None,
    timeout_seconds: float,
) -> Response:
    """One request, one answer.

    Raises:
        CallError: no answer, or a refusal.
    """
    call = opened.unary_unary(method, request_serializer=type(request).SerializeToString, response_deserializer=response.FromString)
    try:
        return await call(request, timeout=timeout_seconds, metadata=metadata)
    except grpc.aio.AioRpcError as error:
        raise _wrapped(error) from error


def open_stream(
    opened: grpc.aio.Channel,
    method: str,
    response: type[Response],
    *,
    metadata: Metadata | None,
    serialise: Callable[[Any], bytes] | None = None,
) -> Stream[Response]:
    """A call in both directions; what is sent is bytes where ``serialise`` is not given."""
    call = opened.stream_stream(method, request_serializer=serialise, response_deserializer=response.FromString)
    return Stream(call(metadata=metadata))


def mesh_channel(join: Join, identity: Identity) -> grpc.aio.Channel:
    """A channel on which the sidecar proves its identity, or with ``--insecure`` claims it (see `mesh_metadata`)."""
    if join.insecure:
        return grpc.aio.insecure_channel(join.control_plane, options=_options())
    credentials = grpc.ssl_channel_credentials(
        root_certificates=(identity.bundle_pem or join.bundle_pem).encode(),
        private_key=identity.key_pem.encode(),
        certificate_chain=identity.chain_pem.encode(),
    )
    return grpc.aio.secure_channel(join.control_plane, credentials, options=_options(join.server_name))


def mesh_metadata(join: Join) -> Metadata | None:
    """What to send along with each call on a `mesh_channel`."""
    return ((INSECURE_PEER_KEY, join.spiffe_id),) if join.insecure else None


def enrollment_channel(join: Join) -> grpc.aio.Channel:
    """A channel on which only the control plane proves who it is, by the roots of the join file."""
    if join.insecure:
        return grpc.aio.insecure_channel(join.enrollment, options=_options())
    credentials = grpc.ssl_channel_credentials(root_certificates=join.bundle_pem.encode())
    return grpc.aio.secure_channel(join.enrollment, credentials, options=_options(join.server_name))


def _wrapped(error: grpc.aio.AioRpcError) -> CallError:
    return CallError(error.code(), error.details() or "")


def _options(server_name: str = "") -> list[tuple[str, int | str]]:
    options: list[tuple[str, int | str]] = [
        ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
        ("grpc.keepalive_time_ms", KEEPALIVE_SECONDS * 1000),
        ("grpc.keepalive_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),
        ("grpc.http2.ping_timeout_ms", KEEPALIVE_TIMEOUT_SECONDS * 1000),  # a minute otherwise, whatever the line above says
        ("grpc.http2.max_pings_without_data", 0),
        ("grpc.min_reconnect_backoff_ms", CONNECT_TIMEOUT_SECONDS * 1000),
        # The way to the control plane is not a matter of the application's proxy settings, nor of what DNS holds beside addresses.
        ("grpc.enable_http_proxy", 0),
        ("grpc.service_config_disable_resolution", 1),
        # A channel of an earlier identity must not lend its connection to a later one.
        ("grpc.use_local_subchannel_pool", 1),
    ]
    if server_name:
        options += [("grpc.ssl_target_name_override", server_name), ("grpc.default_authority", server_name)]
    return options
