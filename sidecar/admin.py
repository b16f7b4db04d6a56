"""Envoy's admin interface over its Unix socket: one request, one answer. Never decides what to ask for.

Source: https://www.envoyproxy.io/docs/envoy/latest/operations/admin
"""

from __future__ import annotations

import asyncio
from pathlib import Path

import msgspec

MAX_ANSWER_BYTES = 4 * 1024 * 1024
TIMEOUT_SECONDS = 5.0


class Answer(msgspec.Struct, frozen=True):
    """An HTTP status and a body."""

    status: int
    body: bytes


class AdminError(Exception):
    """Envoy did not answer; the message says what was asked and what came instead."""


class Admin:
    """Asks one Envoy."""

    def __init__(self, socket: Path) -> None:
        self._socket = socket

    async def get(self, path: str) -> Answer:
        """Read something. Raises `AdminError`."""
        return await self._ask("GET", path)

    async def post(self, path: str) -> Answer:
        """Have something done. Raises `AdminError`."""
        return await self._ask("POST", path)

    async def _ask(self, method: str, path: str) -> Answer:
        try:
            async with asyncio.timeout(TIMEOUT_SECONDS):
                return await self._exchange(method, path)
        except TimeoutError as error:
            raise AdminError(f"{path}: no answer from Envoy within {TIMEOUT_SECONDS:g} seconds") from error
        except (OSError, asyncio.IncompleteReadError, asyncio.LimitOverrunError, ValueError, IndexError) as error:
            raise AdminError(f"{path}: {error}") from error

    async def _exchange(self, method: str, path: str) -> Answer:
        reader, writer = await asyncio.open_unix_connection(str(self._socket))
        try:
            writer.write(f"{method} {path} HTTP/1.1\r\nHost: admin\r\nConnection: close\r\nContent-Length: 0\r\n\r\n".encode())
            await writer.drain()
            head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
            status = int(head[0].split(" ")[1])
            headers = {name.strip().lower(): value.strip() for name, _, value in (line.partition(":") for line in head[1:])}
            if headers.get("transfer-encoding", "").lower() == "chunked":
                return Answer(status, await _chunks(reader))
            return Answer(status, await reader.readexactly(_bounded(int(headers.get("content-length", "0")))))
        finally:
            writer.close()


async def _chunks(reader: asyncio.StreamReader) -> bytes:
    """A body in chunks.

    https://www.rfc-editor.org/rfc/rfc9112#section-7.1
    """
    body = b""
    while length := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += await reader.readexactly(_bounded(length + len(body)) - len(body))
        await reader.readexactly(2)
    return body


def _bounded(length: int) -> int:
    if not 0 <= length <= MAX_ANSWER_BYTES:
        raise ValueError(f"an answer of {length} bytes; at most {MAX_ANSWER_BYTES} are read")
    return length
