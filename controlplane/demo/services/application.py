"""The server side of an application: listens on its service's ports and tells `Arrivals` what came. Never calls anybody."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Callable, Coroutine
from contextlib import suppress
from typing import Any

from controlplane.demo.services import http1
from controlplane.demo.services.arrivals import Arrivals
from controlplane.demo.services.exchange import BadFrameError, Reader, Writer
from controlplane.demo.services.messages import Served, find_marker
from controlplane.demo.services.protocols import GRPC, HTTP, TLS, exchange_of

_BACKLOG = 256


class ListenError(Exception):
    """A port cannot be served; the message says which and why."""


class Application:
    """Every port of one service."""

    def __init__(self, service: str, ports: list[Served], arrivals: Arrivals) -> None:
        self._service = service
        self._ports = ports
        self._arrivals = arrivals
        self._stops: list[Callable[[], Coroutine[Any, Any, None]]] = []
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen on every port.

        Raises:
            ListenError: one of them cannot be served.
        """
        for port in self._ports:
            try:
                await self._serve(port)
            except OSError as error:
                raise ListenError(f"{port.bind}:{port.bind_port}: cannot listen there: {error.strerror or error}") from error

    async def stop(self) -> None:
        """Stop listening and end what is open."""
        for stop in self._stops:
            await stop()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    async def _serve(self, port: Served) -> None:
        if port.protocol == GRPC:
            # Imported by those who serve gRPC only: it costs 12 MB and 50 ms.
            from controlplane.demo.services import rpc  # noqa: PLC0415  # see above

            grpc_server = await rpc.start_server(port.bind, port.bind_port, lambda marker: self._arrivals.add(port.number, marker))
            self._stops.append(lambda: grpc_server.stop(1.0))
            return
        context = None
        if port.protocol in TLS:
            context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
            context.load_cert_chain(port.cert_file, port.key_file)
        answer = self._http if port.protocol in HTTP else self._opaque

        async def serve(reader: Reader, writer: Writer) -> None:
            try:
                await answer(port, reader, writer)
            except (EOFError, OSError, BadFrameError):
                pass  # the client is gone, or is no client of this protocol
            finally:
                writer.close()
                with suppress(OSError):
                    await writer.wait_closed()

        def accept(reader: Reader, writer: Writer) -> None:
            task = asyncio.create_task(serve(reader, writer))
            self._open.add(task)
            task.add_done_callback(self._open.discard)

        server = await asyncio.start_server(accept, port.bind, port.bind_port, ssl=context, backlog=_BACKLOG)

        async def stop() -> None:
            server.close()

        self._stops.append(stop)

    async def _http(self, port: Served, reader: Reader, writer: Writer) -> None:
        await http1.serve(reader, writer, self._service, lambda marker: self._arrivals.add(port.number, marker))

    async def _opaque(self, port: Served, reader: Reader, writer: Writer) -> None:
        """A connection counts as soon as it is there: a server that speaks first gives something away to a silent client."""
        self._arrivals.add(port.number, "")
        known = ""

        def arrived(frame: bytes) -> None:
            nonlocal known
            marker = find_marker(frame)
            if marker and not known:
                known = marker
                self._arrivals.identify(port.number, marker)

        await exchange_of(port.protocol).serve(reader, writer, arrived)
