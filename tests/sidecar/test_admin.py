"""Envoy's admin interface: answers in both framings, bounded, and one error for all that can go wrong."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar import admin
from sidecar.admin import Admin, AdminError, Answer


@asynccontextmanager
async def answering(directory: Path, answer: bytes) -> AsyncIterator[tuple[Admin, list[bytes]]]:
    """A server that says the same to everybody, and what it was asked."""
    asked: list[bytes] = []
    ended = asyncio.Event()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.readuntil(b"\r\n\r\n"))
        writer.write(answer)
        writer.write_eof()
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    path = directory / "admin.sock"
    async with await asyncio.start_unix_server(serve, str(path)):
        yield Admin(path), asked
        await ended.wait()


async def test_an_answer_with_a_length_is_read(tmp_path: Path) -> None:
    async with answering(tmp_path, b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nLIVE\n") as (asking, asked):
        assert await asking.get("/ready") == Answer(200, b"LIVE\n")
        assert asked[0].startswith(b"GET /ready HTTP/1.1\r\n")


async def test_an_answer_in_chunks_is_read(tmp_path: Path) -> None:
    body = b"HTTP/1.1 503 No\r\ntransfer-encoding: chunked\r\n\r\n4;ext\r\nabcd\r\nA\r\n0123456789\r\n0\r\n\r\n"
    async with answering(tmp_path, body) as (asking, asked):
        assert await asking.post("/x") == Answer(503, b"abcd0123456789")
        assert asked[0].startswith(b"POST /x HTTP/1.1\r\n")


@pytest.mark.parametrize(
    "answer",
    [
        b"",
        b"HTTP/1.1 200 OK\r\n",
        b"nonsense\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nContent-Length: -1\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 99999999\r\n\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nzz\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nfffffff\r\n",
        b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n4\r\nab",
    ],
)
async def test_an_answer_that_is_none_is_an_error(tmp_path: Path, answer: bytes) -> None:
    async with answering(tmp_path, answer) as (asking, _):
        with pytest.raises(AdminError, match="/ready"):
            await asking.get("/ready")


async def test_nobody_there_and_no_answer_in_time_are_errors(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(AdminError, match="/ready"):
        await Admin(tmp_path / "missing.sock").get("/ready")
    monkeypatch.setattr(admin, "TIMEOUT_SECONDS", 0.05)

    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        await writer.wait_closed()
        ended.set()

    async with await asyncio.start_unix_server(silent, str(tmp_path / "admin.sock")):
        with pytest.raises(AdminError, match="no answer"):
            await Admin(tmp_path / "admin.sock").get("/ready")
        await ended.wait()
