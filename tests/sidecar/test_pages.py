"""The small HTTP server of a pod's agent: GETs are answered on both families, everything else is bounded or refused."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress

import pytest

from sidecar import pages
from sidecar.pages import NO_ANSWER, Page, Pages, PagesError
from tests.sidecar.asking import ask, get


def free_port() -> int:
    with socket.create_server(("", 0)) as found:
        return int(found.getsockname()[1])


async def echo(path: str) -> Page:
    return Page(200, path.encode())


async def started(answer: Callable[[str], Awaitable[Page]]) -> tuple[int, Pages]:
    """On a port that was free: somebody else may take it in between, and then it is another one."""
    for _ in range(10):
        port = free_port()
        made = Pages(port, answer)
        with suppress(PagesError):
            await made.start()
            return port, made
    raise AssertionError("ten free ports could not be had")


@asynccontextmanager
async def serving(answer: Callable[[str], Awaitable[Page]] = echo) -> AsyncIterator[int]:
    port, made = await started(answer)
    try:
        yield port
    finally:
        await made.stop()


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
async def test_a_path_is_answered_on_both_families_without_its_query(address: str) -> None:
    if address == "::1" and not socket.has_dualstack_ipv6():
        pytest.skip("no IPv6 here")
    async with serving() as port:
        assert await get(port, "/healthz/ready?verbose=1", address) == (200, b"/healthz/ready")


@pytest.mark.parametrize(
    ("request_bytes", "status"),
    [
        (b"POST / HTTP/1.1\r\n\r\n", 405),
        (b"GET http://elsewhere/ HTTP/1.1\r\n\r\n", 400),
        (b"GET /\r\n\r\n", 400),
        (b"\x16\x03\x01\r\n\r\n", 400),
        (b"GET / HTTP/1.1\r\nX: " + b"x" * pages.MAX_HEAD_BYTES + b"\r\n\r\n", 0),
    ],
)
async def test_what_is_no_get_is_refused(request_bytes: bytes, status: int) -> None:
    async with serving() as port:
        assert (await ask(port, request_bytes))[0] == status


async def test_connections_are_bounded_and_a_port_in_use_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "MAX_OPEN", 2)
    async with serving() as port:
        held = [await asyncio.open_connection("127.0.0.1", port) for _ in range(2)]
        while (await ask(port, b""))[0]:
            pass
        assert await get(port, "/") == (0, b"")
        for _, writer in held:
            writer.close()
            await writer.wait_closed()
        with pytest.raises(PagesError, match=f"port {port} is Picket's own"):
            await Pages(port, echo).start()


async def test_a_client_that_says_nothing_is_let_go(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pages, "HEAD_TIMEOUT_SECONDS", 0.01)
    async with serving() as port:
        assert await ask(port, b"GET ") == (0, b"")


async def test_what_is_under_way_ends_when_it_stops() -> None:
    asked = asyncio.Event()

    async def never(_: str) -> Page:
        asked.set()
        await asyncio.Event().wait()
        raise AssertionError

    async with serving(never) as port:
        waiting = asyncio.ensure_future(get(port, "/"))
        await asked.wait()
    assert await waiting == (0, b"")


async def test_no_answer_is_a_connection_that_is_broken_off() -> None:
    async def none(_: str) -> Page:
        return NO_ANSWER

    async with serving(none) as port:
        assert await get(port, "/") == (0, b"")
