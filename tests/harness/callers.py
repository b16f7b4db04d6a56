"""Callers that send exactly the bytes that a test wants, from any address of loopback, with any workload's certificate or none."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable
from dataclasses import dataclass

from tests.harness.application import PREFACE, frame

TIMEOUT_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """All that came back until the other side closed or the caller had enough, and why it ended."""

    body: bytes
    error: str = ""

    @property
    def status(self) -> int:
        """The status of an HTTP/1 answer; 0 when it is none."""
        parts = self.body.split(b" ", 2)
        return int(parts[1]) if parts[0].startswith(b"HTTP/1.") and len(parts) > 2 else 0


async def call(
    address: tuple[str, int], said: bytes, *, source: str = "", tls: ssl.SSLContext | None = None, enough: tuple[bytes, ...] = ()
) -> Answer:
    """Connect, send, and read until the other side closes, or until one of ``enough`` is in what came."""
    local = (source, 0) if source else None
    return await talk(asyncio.open_connection(*address, ssl=tls, local_addr=local), said, enough)


async def talk(
    connecting: Awaitable[tuple[asyncio.StreamReader, asyncio.StreamWriter]], said: bytes, enough: tuple[bytes, ...] = ()
) -> Answer:
    """The same over a connection that is being made."""
    body = b""
    try:
        async with asyncio.timeout(TIMEOUT_SECONDS):
            reader, writer = await connecting
            try:
                writer.write(said)
                while not any(text in body for text in enough):
                    more = await reader.read(65536)
                    if not more:
                        return Answer(body, "closed")
                    body += more
                return Answer(body)
            finally:
                writer.transport.abort()
    except TimeoutError:
        return Answer(body, "timeout")
    except (OSError, ssl.SSLError) as error:
        return Answer(body, str(error) or type(error).__name__)


def http1(method: str, target: str, host: str, headers: str = "", version: str = "1.1") -> bytes:
    """A request that asks for the connection to be closed after it."""
    return f"{method} {target} HTTP/{version}\r\nhost: {host}\r\n{headers}connection: close\r\n\r\n".encode("latin-1")


def http2(method: str, path: str, host: str) -> bytes:
    """The preface and one request on stream 1, its headers as plain literals (RFC 7541, 6.2.2)."""
    fields = ((":method", method), (":scheme", "http"), (":path", path), (":authority", host))
    block = b"".join(_literal(name.encode(), value.encode("latin-1")) for name, value in fields)
    return PREFACE + frame(4, 0, 0) + frame(1, 0b101, 1, block)


def _literal(name: bytes, value: bytes) -> bytes:
    assert max(len(name), len(value)) < 127
    return b"\x00" + bytes((len(name),)) + name + bytes((len(value),)) + value


#: The head of the answer's HEADERS frame (type 1, flags END_HEADERS with or without END_STREAM, stream 1), without its length.
HTTP2_ANSWERS = (b"\x01\x05\x00\x00\x00\x01", b"\x01\x04\x00\x00\x00\x01")
