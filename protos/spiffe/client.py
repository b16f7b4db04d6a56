"""The stream of the Workload API's answers. Reads none of them.

https://github.com/spiffe/spiffe/blob/main/standards/SPIFFE_Workload_API.md
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator

import grpc

from protos.spiffe.endpoint import MAX_ANSWER_BYTES

#: The standard has the first answer follow at once; an API that says nothing for so long is away.
FIRST_ANSWER_SECONDS = 30.0
_METHOD = "/SpiffeWorkloadAPI/FetchX509SVID"
#: Has to come along, so that a browser that is led to the socket cannot ask.
_METADATA = (("workload.spiffe.io", "true"),)
_OPTIONS = (
    ("grpc.max_receive_message_length", MAX_ANSWER_BYTES),
    ("grpc.default_authority", "localhost"),
    ("grpc.enable_http_proxy", 0),
    ("grpc.use_local_subchannel_pool", 1),
)


class EndpointError(Exception):
    """The API gives no answers, or no more; ``refused`` where it knows no identity for this process."""

    def __init__(self, reason: str, *, refused: bool = False) -> None:
        super().__init__(reason)
        self.refused = refused


async def answers(target: str) -> AsyncGenerator[bytes]:
    """One stream's answers, serialised: each holds all of this process's identities. It ends by an error alone.

    Raises:
        EndpointError: the API is away, ended the stream, or has no identity for this process.
    """
    opened = grpc.aio.insecure_channel(target, options=_OPTIONS)
    try:
        # Without (de)serialisers both are bytes; the request has no fields.
        method: grpc.aio.UnaryStreamMultiCallable[bytes, bytes] = opened.unary_stream(_METHOD)
        call = method(b"", metadata=_METADATA)
        async with asyncio.timeout(FIRST_ANSWER_SECONDS):
            answer = await call.read()
        while isinstance(answer, bytes):
            yield answer
            answer = await call.read()
        raise _wrapped(await call.code(), await call.details())
    except grpc.aio.AioRpcError as error:
        raise _wrapped(error.code(), error.details()) from error
    except TimeoutError as error:
        raise EndpointError(f"no answer in {FIRST_ANSWER_SECONDS:g} seconds") from error
    finally:
        await opened.close()


def _wrapped(code: grpc.StatusCode, details: str | None) -> EndpointError:
    reason = f"{code.name}: {' '.join((details or 'the API ended the stream').split())[:300]}"
    return EndpointError(reason, refused=code is grpc.StatusCode.PERMISSION_DENIED)
