"""Probes performed toward real servers: what the application says is passed on, and nothing else can be reached."""

from __future__ import annotations

import asyncio
import contextlib
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.identity.authority import Svid, load_or_create
from controlplane.identity.spiffe import WorkloadId
from sidecar import apphealth
from sidecar.apphealth import AppHealth
from sidecar.appprobes import Grpc, Header, HttpGet, Probe, TcpSocket
from sidecar.pages import NO_ANSWER
from tests.harness.directories import short_directory
from tests.harness.mesh import new_key

READY = "/app-health/web/readyz"
STOP = f"/app-lifecycle/web/prestop/{'0a' * 16}"


@asynccontextmanager
async def application(answer: bytes, context: ssl.SSLContext | None = None) -> AsyncIterator[tuple[int, list[bytes]]]:
    """A server that says the same to everybody; its port, and what it was asked by whom."""
    asked: list[bytes] = []

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            asked.append(str(writer.get_extra_info("peername")[0]).encode() + b" " + await reader.readuntil(b"\r\n\r\n"))
            writer.write(answer)
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0, ssl=context) as server:
        yield server.sockets[0].getsockname()[1], asked


def asking_for(probe: Probe, addresses: tuple[str, ...] = ("127.0.0.1",), directory: Path = Path("/nowhere")) -> AppHealth:
    return AppHealth({READY: probe}, addresses, directory)


@pytest.mark.parametrize("status", [200, 302, 404, 500])
async def test_an_http_probe_gets_the_applications_status_and_follows_nothing(status: int) -> None:
    async with application(f"HTTP/1.1 {status} Word\r\nLocation: http://169.254.169.254/\r\n\r\n".encode()) as (port, asked):
        asking = asking_for(Probe(http_get=HttpGet(port, "/ok?x=1", http_headers=(Header("X-Key", "1"), Header("host", "web")))))
        assert (await asking.answer(READY)).status == status
    (request,) = asked
    assert request == (
        b"127.0.0.6 GET /ok?x=1 HTTP/1.1\r\nX-Key: 1\r\nhost: web\r\nUser-Agent: kube-probe/picket\r\nAccept: */*\r\n"
        b"Connection: close\r\n\r\n"
    )


async def test_without_a_host_of_its_own_the_pods_address_is_named() -> None:
    async with application(b"HTTP/1.0 204 Empty\r\n\r\n") as (port, asked):
        assert (await asking_for(Probe(http_get=HttpGet(port))).answer(READY)).status == 204
    assert f"\r\nHost: 127.0.0.1:{port}\r\n".encode() in asked[0]


async def test_a_path_without_its_slash_is_the_same_path() -> None:
    async with application(b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        assert (await asking_for(Probe(http_get=HttpGet(port, "ok"))).answer(READY)).status == 200
    assert asked[0].startswith(b"127.0.0.6 GET /ok HTTP/1.1\r\n")


async def test_an_https_probe_takes_any_certificate(tmp_path: Path) -> None:
    authority = load_or_create(tmp_path / "ca", "picket.test")
    key, csr = new_key()
    svid = authority.sign(csr, WorkloadId("shop", "web"), timedelta(hours=1), datetime.now(UTC))
    assert isinstance(svid, Svid)
    (tmp_path / "pem").write_bytes(key + svid.chain_pem)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(tmp_path / "pem")
    async with application(b"HTTP/1.1 200 OK\r\n\r\n", context) as (port, _):
        assert (await asking_for(Probe(http_get=HttpGet(port, scheme="HTTPS"))).answer(READY)).status == 200
        assert (await asking_for(Probe(http_get=HttpGet(port))).answer(READY)).status == 503


@pytest.mark.parametrize("answer", [b"", b"SSH-2.0-x\r\n", b"HTTP/1.1 many\r\n", b"HTTP/1.1 99 x\r\n", b"x" * 40_000])
async def test_an_application_that_speaks_something_else_is_not_healthy(answer: bytes) -> None:
    async with application(answer) as (port, _):
        assert (await asking_for(Probe(http_get=HttpGet(port))).answer(READY)).status == 503


async def test_a_tcp_probe_is_a_connection_at_any_of_the_pods_addresses() -> None:
    async with application(b"") as (port, _):
        asking = asking_for(Probe(tcp_socket=TcpSocket(port)), ("127.0.0.77", "127.0.0.1"))
        assert (await asking.answer(READY)).status == 200
    assert (await asking.answer(READY)).status == 503
    assert (await asking_for(Probe(tcp_socket=TcpSocket(port)), ()).answer(READY)).status == 503


@asynccontextmanager
async def health_service(answer: Callable[[bytes], bytes]) -> AsyncIterator[int]:
    async def check(request: bytes, context: grpc.aio.ServicerContext[Any, Any]) -> bytes:
        found = answer(request)
        if not found:
            await context.abort(grpc.StatusCode.NOT_FOUND, "unknown service")
        return found

    server = grpc.aio.server()
    handler: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(check)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("grpc.health.v1.Health", {"Check": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        yield port
    finally:
        await server.stop(None)


@pytest.mark.parametrize(("service", "status"), [("", 200), (None, 200), ("shop.Cart", 503), ("x" * 200, 503), ("unknown", 503)])
async def test_a_grpc_probe_asks_the_health_service(service: str | None, status: int) -> None:
    asked: list[bytes] = []

    def answer(request: bytes) -> bytes:
        asked.append(request)
        return {b"": b"\x08\x01", b"\x0a\x07unknown": b""}.get(request, b"\x08\x02")

    with short_directory() as directory:
        async with health_service(answer) as port:
            asking = asking_for(Probe(grpc=Grpc(port, service), timeout_seconds=20), directory=directory)
            assert (await asking.answer(READY)).status == status
            assert (await asking.answer(READY)).status == status
        assert not list(directory.iterdir())
    length = {"shop.Cart": b"\x09", "unknown": b"\x07", "x" * 200: b"\xc8\x01"}
    assert asked == [b"\x0a" + length[service] + service.encode() if service else b""] * 2


async def test_a_grpc_probe_of_nobody_fails() -> None:
    with short_directory() as directory:
        assert (await asking_for(Probe(grpc=Grpc(1)), directory=directory).answer(READY)).status == 503


async def test_only_declared_probes_are_performed_and_only_so_many_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(apphealth, "MAX_RUNNING", 1)
    asked, ended = asyncio.Event(), asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        asking = asking_for(Probe(http_get=HttpGet(port), timeout_seconds=60))
        for path in ("/app-health/web/livez", READY + "/", "/", f"/{port}"):
            assert (await asking.answer(path)).status == 404
        first = asyncio.ensure_future(asking.answer(READY))
        await asked.wait()
        assert (await asking.answer(READY)).body == b"too many probes at once\n"
        first.cancel()
        await asyncio.wait({first})
        await ended.wait()


async def test_an_application_that_does_not_answer_in_time_is_not_healthy() -> None:
    ended = asyncio.Event()

    async def silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()
        ended.set()

    async with await asyncio.start_server(silent, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        answer = await asking_for(Probe(http_get=HttpGet(port), timeout_seconds=1)).answer(READY)
        await ended.wait()
    assert answer.body == b"no answer within 1 s\n"


def hook(handler: HttpGet, seconds: int = 60) -> AppHealth:
    return AppHealth({STOP: Probe(http_get=handler, timeout_seconds=seconds)}, ("127.0.0.1",), Path("/nowhere"))


@pytest.mark.parametrize("status", [200, 302, 500])
async def test_a_hook_is_a_request_of_its_own_and_any_answer_is_passed_on(status: int) -> None:
    async with application(f"HTTP/1.1 {status} Word\r\n\r\n".encode()) as (port, asked):
        calling = hook(HttpGet(port, "/drain?x=1", http_headers=(Header("Host", "shop"), Header("X-Drain", "now"))))
        assert (await calling.answer(STOP)).status == status
        assert calling.hooks_running == 0
    (request,) = asked
    assert request == (
        b"127.0.0.6 GET /drain?x=1 HTTP/1.1\r\nHost: shop\r\nX-Drain: now\r\nUser-Agent: kube-lifecycle/picket\r\nAccept: */*\r\n"
        b"Connection: close\r\n\r\n"
    )


async def test_a_hook_that_failed_has_no_answer_for_any_would_be_success(caplog: pytest.LogCaptureFixture) -> None:
    """The word of its path is in no log: whoever has it can call the hook."""
    assert await hook(HttpGet(1)).answer(STOP) is NO_ANSWER
    async with application(b"") as (port, _):
        assert await hook(HttpGet(port)).answer(STOP) is NO_ANSWER
    async with application(b"HTTP/1.1 200 OK\r\n\r\n") as (port, asked):
        for path in (STOP[:-1] + "b", STOP.replace("web", "db"), "/app-lifecycle/", STOP + "/x"):
            assert await hook(HttpGet(port)).answer(path) is NO_ANSWER
        assert asked == []
    told = [record.getMessage().partition(" reason")[0] for record in caplog.records]
    assert told == ["hook failed container=web hook=prestop"] * 2
    assert "0a0a" not in caplog.text


async def test_a_hook_over_https_is_done_over_http_where_the_server_speaks_that_without_credentials() -> None:
    """As kubelet does it, for hooks from when it did not heed the scheme."""
    headers = (Header("Authorization", "Bearer x"), Header("X-Key", "1"))
    asked: list[bytes] = []

    async def plain(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append(await reader.read(4096))
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n" if asked[-1].startswith(b"GET") else b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(plain, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        assert (await hook(HttpGet(port, scheme="HTTPS", http_headers=headers)).answer(STOP)).status == 200
    assert len(asked) == 2
    assert b"X-Key: 1" in asked[-1]
    assert b"Authorization" not in asked[-1]


async def test_a_hook_may_take_its_time_and_is_counted_meanwhile(monkeypatch: pytest.MonkeyPatch) -> None:
    """A slow one takes no probe's place; of hooks, too, only so many are under way."""
    monkeypatch.setattr(apphealth, "MAX_RUNNING", 1)
    asked, goes_on = asyncio.Event(), asyncio.Event()

    async def slow(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await goes_on.wait()
        writer.write(b"HTTP/1.1 200 OK\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(slow, "127.0.0.1", 0) as server:
        port = server.sockets[0].getsockname()[1]
        calling = hook(HttpGet(port))
        first = asyncio.ensure_future(calling.answer(STOP))
        await asked.wait()
        assert calling.hooks_running == 1
        assert await calling.answer(STOP) is NO_ANSWER
        goes_on.set()
        assert (await first).status == 200
        assert calling.hooks_running == 0
