"""What a protocol of opaque bytes is to the demo: a server's side and a client's side of its first exchange. Knows plain lines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

#: A frame or line that is longer is not of an exchange that is made here.
MAX_FRAME_BYTES = 64 * 1024

Reader = asyncio.StreamReader
Writer = asyncio.StreamWriter
#: Told of each frame that arrived.
Arrived = Callable[[bytes], None]


class BadFrameError(ValueError):
    """The peer sent something that is not of the protocol."""


class DeclinedError(Exception):
    """The server answered, and the answer is no."""


@dataclass(frozen=True, slots=True)
class Exchange:
    """Both sides of a protocol. The server's side returns when the client is gone; the client's side when it was answered.

    Both raise `BadFrameError`, EOFError (`asyncio.IncompleteReadError`) or OSError; the client's side also `DeclinedError`.
    """

    serve: Callable[[Reader, Writer, Arrived], Awaitable[None]]
    call: Callable[[Reader, Writer, bytes], Awaitable[None]]


async def read_line(reader: Reader) -> bytes:
    """One line with its end; empty at the end of the stream."""
    try:
        return await reader.readline()
    except ValueError as error:
        raise BadFrameError("a line without an end") from error


async def read_sized(reader: Reader, size: int) -> bytes:
    """So many bytes.

    Raises:
        BadFrameError: more than any frame here has.
    """
    if not 0 <= size <= MAX_FRAME_BYTES:
        raise BadFrameError(f"a frame of {size} bytes")
    return await reader.readexactly(size)


async def expect(reader: Reader, wanted: bytes) -> None:
    """Read an answer that can only be this.

    Raises:
        DeclinedError: it is another.
    """
    seen = await reader.readexactly(len(wanted))
    if seen != wanted:
        raise DeclinedError(seen.decode("latin-1"))


async def _serve_lines(reader: Reader, writer: Writer, arrived: Arrived) -> None:
    while line := await read_line(reader):
        arrived(line)
        writer.write(line)
        await writer.drain()


async def _call_lines(reader: Reader, writer: Writer, marker: bytes) -> None:
    writer.write(marker + b"\n")
    await expect(reader, marker + b"\n")


#: For tcp, tls and every protocol that is not known by name: a line comes back as it was sent.
LINES = Exchange(_serve_lines, _call_lines)
