"""Raw connections from inside a mesh's namespaces: held open, silent, or with somebody else's identity. Judges nothing."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from controlplane.demo.plan import Placed
from controlplane.demo.processes import APPLICATION_USER
from controlplane.demo.services.messages import MARKER_HEADER
from tests.harness.namespaces import Namespace

CONNECT_SECONDS = 10.0
#: How long a peer that says nothing is listened to before it counts as having said nothing.
SILENCE_SECONDS = 3.0


class Connection:
    """One connection of an application's user."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def ping(self) -> bytes:
        """What a redis answers to a ping; empty once the connection has ended."""
        return await self._say(b"*1\r\n$4\r\nPING\r\n")

    async def get(self, host: str, marker: str) -> int:
        """The status of a GET on this connection, which stays open."""
        said = await self._say(f"GET / HTTP/1.1\r\nhost: {host}\r\n{MARKER_HEADER}: {marker}\r\n\r\n".encode())
        if not said:
            return 0
        while b"\r\n\r\n" not in said:
            said += await self._reader.read(65536)
        head, _, body = said.partition(b"\r\n\r\n")
        length = next(int(line.split(b":")[1]) for line in head.split(b"\r\n") if line.lower().startswith(b"content-length:"))
        await self._reader.readexactly(length - len(body))
        return int(head.split()[1])

    async def send(self, data: bytes) -> None:
        """Send it, and no more."""
        self._writer.write(data)
        await self._writer.drain()

    async def _say(self, request: bytes) -> bytes:
        try:
            self._writer.write(request)
            return await self._reader.read(65536)
        except OSError:
            return b""

    async def heard(self) -> bytes:
        """What comes without anything being said, until the other side ends it or has been silent for long."""
        said = b""
        with suppress(OSError, TimeoutError):
            async with asyncio.timeout(SILENCE_SECONDS):
                while part := await self._reader.read(65536):
                    said += part
        return said

    async def ended(self) -> None:
        """Wait until the other side ends it, and throw away what it still says."""
        with suppress(OSError):
            while await self._reader.read(65536):
                pass


@asynccontextmanager
async def connected(place: Placed, dialled: tuple[str, int], tls: ssl.SSLContext | None = None) -> AsyncIterator[Connection]:
    """A connection out of a service's namespace, or raises OSError."""
    uid, gid = APPLICATION_USER
    inside = Namespace(place.namespace, "", "")

    def dial() -> socket.socket:
        return socket.create_connection(dialled, CONNECT_SECONDS)

    made = await asyncio.to_thread(lambda: inside.run(dial, uid=uid, gid=gid))
    made.setblocking(False)
    reader, writer = await asyncio.open_connection(sock=made, ssl=tls, server_hostname="" if tls else None)
    try:
        yield Connection(reader, writer)
    finally:
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()


async def reaches(source: Placed, destination: Placed, port: int) -> bool:
    """Whether bytes get from one namespace to another, where a listener of the destination's user waits for them."""
    uid, gid = APPLICATION_USER
    listener = Namespace(destination.namespace, "", "").run(
        lambda: socket.create_server(("0.0.0.0", port)),
        uid=uid,
        gid=gid,  # a namespace of the test's own
    )
    with listener:
        listener.settimeout(SILENCE_SECONDS)
        arrived = asyncio.create_task(asyncio.to_thread(_first_bytes, listener))
        with suppress(OSError):
            async with connected(source, (destination.address, port)) as connection:
                await connection.send(b"hello")
        return await arrived == b"hello"


def _first_bytes(listener: socket.socket) -> bytes:
    try:
        accepted, _ = listener.accept()
        with accepted:
            accepted.settimeout(SILENCE_SECONDS)
            return accepted.recv(100)
    except OSError:
        return b""
