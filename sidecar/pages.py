"""Answers HTTP GETs on a port, for the kubelet and for Prometheus. Reads no body, keeps no connection, decides no answer.

Others than those can reach it: everything that they may use up is bounded.
"""

from __future__ import annotations

import asyncio
import logging
import socket
from collections.abc import Awaitable, Callable

import msgspec

MAX_HEAD_BYTES = 8 * 1024
#: More connections than this are closed as they come.
MAX_OPEN = 64
HEAD_TIMEOUT_SECONDS = 5.0
_REASONS = {200: "OK", 400: "Bad Request", 404: "Not Found", 405: "Method Not Allowed", 503: "Service Unavailable"}
_log = logging.getLogger("picket.pages")


class PagesError(Exception):
    """A port cannot be had; the message says which and why."""


class Page(msgspec.Struct, frozen=True):
    """An HTTP answer; `NO_ANSWER` is none at all."""

    status: int
    body: bytes = b""
    kind: str = "text/plain; charset=utf-8"


NOT_FOUND = Page(404, b"not found\n")
#: The connection is broken off.
NO_ANSWER = Page(0)


class Pages:
    """One port, on all addresses of both families: the kubelet comes by the pod's."""

    def __init__(self, port: int, answer: Callable[[str], Awaitable[Page]]) -> None:
        """``answer`` gets the path, with no query, and bounds its own time."""
        self._port = port
        self._answer = answer
        self._server: asyncio.Server | None = None
        self._open: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """Listen.

        Raises:
            PagesError: the port cannot be had.
        """
        try:
            self._server = await asyncio.start_server(self._accepted, sock=_listening(self._port), limit=MAX_HEAD_BYTES)
        except OSError as error:
            raise PagesError(f"port {self._port} is Picket's own, and cannot be had: {error.strerror}") from error

    async def stop(self) -> None:
        """Stop listening and end what is under way."""
        if self._server is None:
            return
        self._server.close()
        for task in self._open:
            task.cancel()
        await asyncio.gather(*self._open, return_exceptions=True)

    def _accepted(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if len(self._open) >= MAX_OPEN:
            writer.transport.abort()
            return
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._open.add(task)
        task.add_done_callback(self._open.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(HEAD_TIMEOUT_SECONDS):
                head = await reader.readuntil(b"\r\n\r\n")
            page = await self._page(head)
            if page is NO_ANSWER:
                writer.transport.abort()
                return
            if page.status >= 400:
                _log.debug("answered port=%d status=%d", self._port, page.status)
            writer.write(_written(page))
            async with asyncio.timeout(HEAD_TIMEOUT_SECONDS):
                await writer.drain()
        except (TimeoutError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ConnectionError):
            writer.transport.abort()
        finally:
            writer.close()

    async def _page(self, head: bytes) -> Page:
        words = head.partition(b"\r\n")[0].decode("latin-1").split(" ")
        if len(words) != 3 or not words[2].startswith("HTTP/1.") or not words[1].startswith("/"):
            return Page(400, b"not an HTTP/1 request\n")
        if words[0] != "GET":
            return Page(405, b"only GET\n")
        return await self._answer(words[1].partition("?")[0])


def _listening(port: int) -> socket.socket:
    """A socket for both families, or for IPv4 where there is no other."""
    if not socket.has_dualstack_ipv6():
        return socket.create_server(("", port))
    return socket.create_server(("", port), family=socket.AF_INET6, dualstack_ipv6=True)


def _written(page: Page) -> bytes:
    reason = _REASONS.get(page.status, "Answer")
    headers = f"Content-Type: {page.kind}\r\nContent-Length: {len(page.body)}\r\nConnection: close\r\n"
    return f"HTTP/1.1 {page.status} {reason}\r\n{headers}\r\n".encode() + page.body
