"""A way into the mesh for a thief: a local port whose connections go on over mTLS with somebody's identity.

For the demo's proof that a destination decides for itself. No application uses it.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from controlplane.demo.services.exchange import Reader, Writer

#: What a sidecar's client side offers, so that the other side takes the connection for the mesh's.
MESH_ALPN = "picket"
_CHUNK_BYTES = 64 * 1024


@dataclass(frozen=True, slots=True)
class Way:
    """Where a tunnel leads: an address, from which own address (empty: any), and with which TLS."""

    address: str
    port: int
    source_address: str
    context: ssl.SSLContext | None


def stolen_context(identity_file: str, peers_file: str) -> ssl.SSLContext:
    """TLS as a sidecar does it, with an identity that was taken from one.

    Raises:
        OSError: the files cannot be used.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.minimum_version = ssl.TLSVersion.TLSv1_3
    context.check_hostname = False  # mesh certificates name a workload, not a host
    context.load_verify_locations(peers_file)
    context.load_cert_chain(identity_file)
    context.set_alpn_protocols([MESH_ALPN])
    return context


@asynccontextmanager
async def tunnel(way: Way) -> AsyncIterator[tuple[str, int]]:
    """A local address that leads along the way while the context is open."""
    tasks: set[asyncio.Task[None]] = set()

    async def accept(reader: Reader, writer: Writer) -> None:
        task = asyncio.current_task()
        assert task is not None
        tasks.add(task)
        with suppress(OSError, EOFError, asyncio.CancelledError):
            await _pass_on(reader, writer, way)
        writer.close()

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[:2]
    finally:
        server.close()
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


async def _pass_on(reader: Reader, writer: Writer, way: Way) -> None:
    local = (way.source_address, 0) if way.source_address else None
    there = await asyncio.open_connection(way.address, way.port, ssl=way.context, local_addr=local)
    try:
        both = (asyncio.create_task(_pump(reader, there[1])), asyncio.create_task(_pump(there[0], writer)))
        try:
            # The first side that ends ends both: nothing here needs a half-open connection.
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in both:
                task.cancel()
            await asyncio.gather(*both, return_exceptions=True)
    finally:
        there[1].close()


async def _pump(reader: Reader, writer: Writer) -> None:
    while data := await reader.read(_CHUNK_BYTES):
        writer.write(data)
        await writer.drain()
