"""gRPC: a server that answers any method of any service with the bytes it was sent, and a client of one call. Imports grpc."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from typing import Any

import grpc

from controlplane.demo.services.exchange import DeclinedError
from controlplane.demo.services.messages import MARKER_HEADER

_SERVER_OPTIONS = (("grpc.so_reuseport", 0), ("grpc.max_receive_message_length", 4 * 1024 * 1024))
#: Each call has a connection of its own, so that one that was refused says nothing about the next.
_CLIENT_OPTIONS = (("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0), ("grpc.enable_http_proxy", 0))


class _AnyMethod(grpc.GenericRpcHandler):
    def __init__(self, arrived: Callable[[str], None]) -> None:
        self._arrived = arrived

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        metadata = dict(handler_call_details.invocation_metadata or ())
        marker = metadata.get(MARKER_HEADER, "")
        self._arrived(marker if isinstance(marker, str) else marker.decode("latin-1"))
        # A stream of messages is, on the wire, what every kind of method is.
        return grpc.stream_stream_rpc_method_handler(_echo)


async def _echo(requests: AsyncIterator[bytes], _: grpc.aio.ServicerContext[bytes, bytes]) -> AsyncIterator[bytes]:
    async for message in requests:
        yield message


async def start_server(address: str, port: int, arrived: Callable[[str], None]) -> grpc.aio.Server:
    """Serve; ``arrived`` hears each call's marker, empty when it has none.

    Raises:
        OSError: the address is in use or not to be had.
    """
    server = grpc.aio.server(options=_SERVER_OPTIONS)
    server.add_generic_rpc_handlers((_AnyMethod(arrived),))
    try:
        server.add_insecure_port(f"{address}:{port}")
    except RuntimeError as error:
        raise OSError(f"{address}:{port}: cannot listen there") from error
    await server.start()
    return server


async def call(target: str, *, path: str, host: str, marker: str, timeout_seconds: float) -> None:
    """Make one unary call on a connection of its own. ``target`` is ``address:port`` or ``unix:/path``.

    Raises:
        DeclinedError: the peer answered with a status that is not OK.
        EOFError: there was no connection, or it ended without an answer.
        TimeoutError: nothing happened in time.
    """
    options: list[tuple[str, Any]] = [*_CLIENT_OPTIONS, ("grpc.default_authority", host)]
    async with grpc.aio.insecure_channel(target, options=options) as channel:
        method: grpc.aio.UnaryUnaryMultiCallable[bytes, bytes] = channel.unary_unary(path)
        try:
            answer = await method(marker.encode(), metadata=((MARKER_HEADER, marker),), timeout=timeout_seconds)
        except grpc.aio.AioRpcError as error:
            if error.code() is grpc.StatusCode.DEADLINE_EXCEEDED:
                raise TimeoutError from error
            if error.code() is grpc.StatusCode.UNAVAILABLE:
                raise EOFError(error.details()) from error
            raise DeclinedError(f"{error.code().name} {error.details()}") from error
    if answer != marker.encode():
        raise DeclinedError("another answer than what was sent")
