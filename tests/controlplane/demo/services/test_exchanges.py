"""Every protocol of the demo's applications, both sides of it over real sockets."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

import psycopg
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from controlplane.demo.services.application import Application, ListenError
from controlplane.demo.services.arrivals import Arrivals
from controlplane.demo.services.caller import Caller
from controlplane.demo.services.exchange import BadFrameError, Exchange
from controlplane.demo.services.greeting import SERVER_FIRST
from controlplane.demo.services.messages import Call, Outcome, Received, Result, Served, find_marker
from controlplane.demo.services.protocols import GRPC, HTTP, exchange_of
from controlplane.topology.protocol import server_speaks_first

MARKER = "picket-0123abcd-7"
OPAQUE = ("redis", "postgres", "mongo", "kafka", "amqp", "thrift", "tcp", "memcached", *SERVER_FIRST)
PLAIN = (*OPAQUE, "http", "http2", "grpc")
NUMBER = 9


@asynccontextmanager
async def served(protocol: str, free_port: int) -> AsyncIterator[Arrivals]:
    """An application with one port."""
    arrivals = Arrivals()
    application = Application("shop/cart", [Served(NUMBER, protocol, "127.0.0.1", free_port)], arrivals)
    await application.start()
    try:
        yield arrivals
    finally:
        await application.stop()


async def call(protocol: str, port: int, timeout_seconds: float = 10.0) -> Outcome:
    """One call to a local port."""
    path = "/shop.Cart/Get" if protocol == GRPC else "/cart?x=1"
    order = Call(1, "127.0.0.1", port, protocol, MARKER, "cart", "POST", path, timeout_seconds)
    return await Caller().call(order)


@pytest.mark.parametrize("protocol", PLAIN)
async def test_a_call_is_answered_and_counted_once(protocol: str, free_port: int) -> None:
    """Client and server of each protocol understand each other, and the marker is known where it arrived."""
    async with served(protocol, free_port) as arrivals:
        assert await call(protocol, free_port) == Outcome(1, Result.ANSWERED)
        assert arrivals.answer(3) == Received(3, {MARKER: 1}, {})


@pytest.mark.parametrize("protocol", sorted(SERVER_FIRST))
async def test_a_silent_client_of_a_server_that_speaks_first_is_counted(protocol: str, free_port: int) -> None:
    """Whoever only listens to the greeting has been served."""
    async with served(protocol, free_port) as arrivals:
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
        assert await reader.read(3)
        writer.close()
        assert arrivals.answer(1).unmarked == {NUMBER: 1}


def test_servers_that_speak_first_are_those_that_the_proxy_knows() -> None:
    """A greeting behind an inspector that waits for the client would stall."""
    known = {protocol for protocol in PLAIN if server_speaks_first(protocol)}
    assert known == set(SERVER_FIRST)


async def test_an_http_request_without_a_marker_is_counted(free_port: int) -> None:
    """A request that nobody planned shows."""
    async with served("http", free_port) as arrivals:
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(b"POST /a HTTP/1.1\r\nhost: cart\r\ntransfer-encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n")
        writer.write(b"GET /b HTTP/1.1\r\nhost: cart\r\nconnection: close\r\n\r\n")
        answers = await reader.read()
        writer.close()
        assert answers.count(b"HTTP/1.1 200 OK") == 2
        assert b"shop/cart got GET /b" in answers
        assert arrivals.answer(1) == Received(1, {}, {NUMBER: 2})


async def test_postgres_answers_a_real_client(free_port: int) -> None:
    """libpq connects (asking for TLS first) and gets its row."""
    async with served("postgres", free_port) as arrivals:
        where = f"host=127.0.0.1 port={free_port} user={MARKER} dbname=shop sslmode=prefer gssencmode=disable"
        connection = await psycopg.AsyncConnection.connect(where, autocommit=True)
        cursor = psycopg.AsyncClientCursor(connection)
        await cursor.execute("SELECT 1")
        assert await cursor.fetchone() == (1,)
        await connection.close()
        assert arrivals.answer(1).marked == {MARKER: 1}


async def test_redis_answers_commands(free_port: int) -> None:
    """What a client library says at its start, and inline commands, have their answers."""
    async with served("redis", free_port):
        reader, writer = await asyncio.open_connection("127.0.0.1", free_port)
        writer.write(b"*2\r\n$6\r\nCLIENT\r\n$7\r\nSETINFO\r\n*1\r\n$4\r\nPING\r\n")
        writer.write(b"PING\r\n*2\r\n$3\r\nGET\r\n$1\r\nx\r\nHELLO 3\r\n\r\n")
        assert await reader.read() == b"+OK\r\n+PONG\r\n+PONG\r\n$-1\r\n-ERR unknown command\r\n"
        writer.close()


@pytest.mark.parametrize("protocol", PLAIN)
async def test_nobody_there_is_unreachable(protocol: str, free_port: int) -> None:
    """A port without a listener is no answer, and says so."""
    outcome = await call(protocol, free_port)
    assert outcome.result in ({Result.CLOSED} if protocol == GRPC else {Result.UNREACHABLE})


@pytest.mark.parametrize("protocol", PLAIN)
async def test_a_connection_that_is_closed_is_no_answer(protocol: str) -> None:
    """As a proxy drops what it does not let through."""

    def drop(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    server = await asyncio.start_server(drop, "127.0.0.1", 0)
    async with server:
        outcome = await call(protocol, server.sockets[0].getsockname()[1])
    assert outcome.result is Result.CLOSED


async def test_a_server_that_says_nothing_takes_until_the_time_limit() -> None:
    """A call never hangs."""

    async def wait(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    server = await asyncio.start_server(wait, "127.0.0.1", 0)
    async with server:
        outcome = await call("redis", server.sockets[0].getsockname()[1], timeout_seconds=0.2)
    assert outcome.result is Result.TIMEOUT


async def test_a_refusal_over_http_is_declined() -> None:
    """A 403 of a proxy is an answer, and it is not the application's."""

    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 403 Forbidden\r\ncontent-length: 4\r\n\r\nno\r\n")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    async with server:
        outcome = await call("http", server.sockets[0].getsockname()[1])
    assert (outcome.result, outcome.detail) == (Result.DECLINED, "403 no")


async def test_a_port_that_is_taken_is_named(free_port: int) -> None:
    """An application that cannot listen says where."""
    async with served("http", free_port):
        with pytest.raises(ListenError, match=f"127.0.0.1:{free_port}: cannot listen there"):
            await Application("shop/cart", [Served(NUMBER, "http", "127.0.0.1", free_port)], Arrivals()).start()


class _Nowhere(asyncio.Transport):
    """Takes what is written and is never full."""

    def write(self, data: bytes | bytearray | memoryview) -> None: ...

    def is_closing(self) -> bool:
        return True


@given(data=st.binary(max_size=400), protocol=st.sampled_from(sorted({*OPAQUE} - HTTP)))
@settings(deadline=None)
async def test_servers_survive_whatever_arrives(data: bytes, protocol: str) -> None:
    """Bytes that are not of the protocol end the connection and nothing else."""
    await _feed(exchange_of(protocol), data)


@given(st.binary(max_size=100), st.binary(max_size=100))
def test_a_marker_is_found_wherever_it_stands(before: bytes, after: bytes) -> None:
    """Binary frames around it do not hide it."""
    found = find_marker(before + b"\0" + MARKER.encode() + b"\0" + after)
    assert found == MARKER or find_marker(before)


async def _feed(exchange: Exchange, data: bytes) -> None:
    reader = asyncio.StreamReader()
    reader.feed_data(data)
    reader.feed_eof()
    protocol = asyncio.StreamReaderProtocol(reader)
    writer = asyncio.StreamWriter(_Nowhere(), protocol, reader, asyncio.get_running_loop())
    with suppress(EOFError, BadFrameError):
        await asyncio.wait_for(exchange.serve(reader, writer, lambda _: None), 5)
