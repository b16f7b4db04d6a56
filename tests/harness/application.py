"""An application that remembers what reached it: connections, bytes, and HTTP requests in both versions."""

from __future__ import annotations

import asyncio
import socket
import ssl
from collections import Counter
from dataclasses import dataclass, field

GREETING = b"5.7.0 greeting\n"
PREFACE = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
_HEADERS, _SETTINGS = 1, 4
_METHODS = (b"GET ", b"POST ", b"PUT ", b"DELETE ", b"HEAD ", b"OPTIONS ", b"BREW ", b"get ")


@dataclass(frozen=True, slots=True)
class Received:
    """One HTTP/1 request as the application read it."""

    method: str
    target: str
    host: str
    head: bytes


def frame(kind: int, flags: int, stream: int, body: bytes = b"") -> bytes:
    """An HTTP/2 frame. https://www.rfc-editor.org/rfc/rfc9113#section-4.1"""
    return len(body).to_bytes(3, "big") + bytes((kind, flags)) + stream.to_bytes(4, "big") + body


@dataclass
class Application:
    """One listening port. HTTP is answered with 200, HTTP/2 too; other bytes are sent back.

    With ``speaks_first`` it greets before the client says a word.
    """

    speaks_first: bool = False
    connections: int = 0
    open: int = 0
    requests: list[Received] = field(default_factory=list)
    http2_requests: int = 0
    texts: Counter[bytes] = field(default_factory=Counter)
    _server: asyncio.Server | None = None
    _writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def start(self, host: str, port: int) -> None:
        """Listen."""
        self._server = await asyncio.start_server(self._serve, host, port)

    async def start_on(self, listening: socket.socket, tls: ssl.SSLContext | None = None) -> None:
        """Serve a socket that listens, with TLS if there is a context."""
        self._server = await asyncio.start_server(self._serve, sock=listening, ssl=tls)

    async def stop(self) -> None:
        """Listen no more and end what is open."""
        if self._server is not None:
            self._server.close()
        for writer in self._writers:
            writer.transport.abort()

    def forget(self) -> None:
        """Count anew."""
        self.connections, self.http2_requests = 0, 0
        self.requests.clear()
        self.texts.clear()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        self.open += 1
        self._writers.add(writer)
        try:
            if self.speaks_first:
                writer.write(GREETING)
            first = await reader.read(65536)
            if first.startswith(PREFACE[:3]):
                await self._http2(first, reader, writer)
            elif first.startswith(_METHODS):
                await self._http1(first, reader, writer)
            else:
                await self._echo(first, reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass  # the other side went away
        finally:
            self.open -= 1
            self._writers.discard(writer)
            writer.close()

    async def _echo(self, text: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while text:
            self.texts[text] += 1
            writer.write(text)
            text = await reader.read(65536)

    async def _http1(self, text: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while text:
            while b"\r\n\r\n" not in text:
                text += await reader.readexactly(1)
            head, _, text = text.partition(b"\r\n\r\n")
            line, *headers = head.decode("latin-1").split("\r\n")
            method, target, _ = line.split(" ")
            fields = {name.lower(): value.strip() for name, _, value in (header.partition(":") for header in headers)}
            self.requests.append(Received(method, target, fields.get("host", ""), head))
            length = int(fields.get("content-length", "0"))
            while len(text) < length:
                text += await reader.readexactly(1)
            text = text[length:]
            body = b"" if method == "HEAD" else b"ok"
            writer.write(b"HTTP/1.1 200 OK\r\ncontent-length: %d\r\n\r\n%b" % (len(body), body))
            text = text or await reader.read(65536)

    async def _http2(self, text: bytes, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while len(text) < len(PREFACE):
            text += await reader.readexactly(1)
        text = text[len(PREFACE) :]
        writer.write(frame(_SETTINGS, 0, 0))
        while True:
            while len(text) < 9 or len(text) < 9 + int.from_bytes(text[:3], "big"):
                more = await reader.read(65536)
                if not more:
                    return
                text += more
            size, kind, flags, stream = int.from_bytes(text[:3], "big"), text[3], text[4], int.from_bytes(text[5:9], "big")
            text = text[9 + size :]
            if kind == _SETTINGS and not flags & 1:
                writer.write(frame(_SETTINGS, 1, 0))
            elif kind == _HEADERS:
                self.http2_requests += 1
                writer.write(frame(_HEADERS, 0b101, stream, b"\x88"))  # :status 200 of the static table
