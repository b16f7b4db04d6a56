"""The end of an Envoy's work: requests that are under way are waited for, and an Envoy that is gone has none."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from sidecar import draining
from sidecar.admin import Admin
from sidecar.draining import Draining


@asynccontextmanager
async def envoy_with(directory: Path, active: Sequence[int]) -> AsyncIterator[tuple[Draining, list[str]]]:
    """An admin interface that tells of so many requests, one answer after the other; and what it was asked."""
    asked: list[str] = []
    left = list(active)

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = (await reader.readuntil(b"\r\n\r\n")).decode().partition(" HTTP")[0]
        asked.append(line)
        body = ""
        if "/stats" in line:
            count = left.pop(0) if len(left) > 1 else left[0]
            told = {"admin": 1, "http": count, "x": count}
            body = "".join(f"http.{name}.downstream_rq_active: {number}\n" for name, number in told.items())
        writer.write(f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n\r\n{body}".encode())
        await writer.drain()
        writer.close()

    path = directory / "admin.sock"
    async with await asyncio.start_unix_server(serve, str(path)):
        yield Draining(Admin(path)), asked


async def test_requests_of_all_listeners_count_and_the_question_itself_does_not(tmp_path: Path) -> None:
    async with envoy_with(tmp_path, [2]) as (made, _):
        assert await made.requests_active() == 4


async def test_it_waits_until_nothing_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(draining, "POLL_SECONDS", 0.0)
    async with envoy_with(tmp_path, [1, 1, 0]) as (made, asked):
        assert await made.finished(60)
        assert len(asked) == 3
    async with envoy_with(tmp_path, [1]) as (made, _):
        assert not await made.finished(0.01)


async def test_it_is_begun_in_its_order(tmp_path: Path) -> None:
    async with envoy_with(tmp_path, [0]) as (made, asked):
        await made.begin()
    assert asked == ["POST /healthcheck/fail", "POST /drain_listeners?graceful&inboundonly"]


async def test_an_envoy_that_is_gone_has_nothing_under_way(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """That it could not be asked is told, and that is all."""
    made = Draining(Admin(tmp_path / "none.sock"))
    await made.begin()
    assert "envoy not drained" in caplog.text
    assert await made.requests_active() == 0
    assert await made.finished(60)


async def test_hooks_that_are_under_way_are_waited_for_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The kubelet waits for their answer, and the agent is who gives it."""
    monkeypatch.setattr(draining, "POLL_SECONDS", 0.0)
    left = [1, 1, 0]
    async with envoy_with(tmp_path, [0]):
        made = Draining(Admin(tmp_path / "admin.sock"), lambda: left.pop(0))
        assert await made.finished(60)
        assert left == []
        assert not await Draining(Admin(tmp_path / "admin.sock"), lambda: 1).finished(0.01)
