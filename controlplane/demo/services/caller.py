"""The client side of an application: makes one call on a connection of its own and says how it ended. Counts nothing."""

from __future__ import annotations

import asyncio
import ssl
from contextlib import AsyncExitStack, suppress

from controlplane.demo.services import http1
from controlplane.demo.services.exchange import BadFrameError, DeclinedError, Reader, Writer
from controlplane.demo.services.messages import Call, Outcome, Result
from controlplane.demo.services.protocols import GRPC, HTTP, TLS, exchange_of
from controlplane.demo.services.tunnel import Way, stolen_context, tunnel


class _UnreachableError(Exception):
    """There was no connection."""


class Caller:
    """Makes calls. Keeps TLS contexts, because making one costs more than a call."""

    def __init__(self) -> None:
        self._contexts: dict[tuple[str, str], ssl.SSLContext] = {}

    async def call(self, call: Call) -> Outcome:
        """Make the call; every ending is a value."""
        try:
            async with asyncio.timeout(call.timeout_seconds):
                await self._make(call)
        except TimeoutError:
            return Outcome(call.id, Result.TIMEOUT, f"nothing within {call.timeout_seconds:g} s")
        except DeclinedError as error:
            return Outcome(call.id, Result.DECLINED, str(error)[:300])
        except _UnreachableError as error:
            return Outcome(call.id, Result.UNREACHABLE, str(error)[:300])
        except (EOFError, OSError, BadFrameError) as error:
            return Outcome(call.id, Result.CLOSED, f"{type(error).__name__}: {error}"[:300])
        return Outcome(call.id, Result.ANSWERED)

    async def _make(self, call: Call) -> None:
        async with AsyncExitStack() as stack:
            address, port = call.address, call.port
            if call.identity_file or call.source_address:
                context = self._stolen(call) if call.identity_file else None
                way = Way(call.address, call.port, call.source_address, context)
                address, port = await stack.enter_async_context(tunnel(way))
            if call.protocol == GRPC:
                # Imported by those who call gRPC only: it costs 12 MB and 50 ms.
                from controlplane.demo.services import rpc  # noqa: PLC0415  # see above

                await rpc.call(
                    f"{address}:{port}", path=call.path, host=call.host, marker=call.marker, timeout_seconds=call.timeout_seconds
                )
                return
            reader, writer = await self._connect(call, address, port)
            stack.push_async_callback(_close, writer)
            if call.protocol in HTTP:
                await http1.call(reader, writer, method=call.method, path=call.path, host=call.host, marker=call.marker)
            else:
                await exchange_of(call.protocol).call(reader, writer, call.marker.encode())

    async def _connect(self, call: Call, address: str, port: int) -> tuple[Reader, Writer]:
        context = self._believing(call.authority_file) if call.protocol in TLS else None
        try:
            return await asyncio.open_connection(address, port, ssl=context, server_hostname=call.host if context else None)
        except (ssl.SSLError, ConnectionResetError):
            raise
        except OSError as error:
            raise _UnreachableError(str(error)) from error

    def _believing(self, authority_file: str) -> ssl.SSLContext:
        key = ("", authority_file)
        if key not in self._contexts:
            self._contexts[key] = ssl.create_default_context(cafile=authority_file or None)
        return self._contexts[key]

    def _stolen(self, call: Call) -> ssl.SSLContext:
        key = (call.identity_file, call.peers_file)
        if key not in self._contexts:
            self._contexts[key] = stolen_context(*key)
        return self._contexts[key]


async def _close(writer: Writer) -> None:
    writer.close()
    with suppress(OSError):
        await writer.wait_closed()
