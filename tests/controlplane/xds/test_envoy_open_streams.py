"""What a change does to streams that a source has open to hosts outside the mesh, on a real Envoy."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
import pytest_asyncio

from controlplane.policy.revise import revise
from controlplane.policy.rules import Mode, Policy, Rule
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology
from tests.controlplane.xds.outbound_world import SOURCE, UNKNOWN, OutboundWorld, outbound_world
from tests.harness.namespace import missing

pytestmark = [
    pytest.mark.asyncio(loop_scope="module"),
    pytest.mark.skipif(bool(missing()), reason=f"a network namespace needs {missing()}"),
]
OWN = ServiceName(*SOURCE)
PORT, HOSTS_PORT = 9100, 9200
HOSTS = tuple(
    Service(ServiceName("shop", name), Kind.EXTERNAL, (Port(HOSTS_PORT, "http", HOSTS_PORT),), (), (UNKNOWN,))
    for name in ("news.test", "feed.test", "late.test")
)
NEWS, FEED, LATE = (host.name for host in HOSTS)
SWITCHED = b"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
ASKED = b"GET /feed HTTP/1.1\r\nHost: %b\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"
#: Longer than anything here takes; nothing is asserted about time.
PATIENCE_SECONDS = 20.0


async def _switch_and_echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(SWITCHED)
        while line := await reader.readline():
            writer.write(line)
            await writer.drain()
    except (ConnectionError, asyncio.IncompleteReadError):
        pass
    finally:
        writer.close()


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def outbound() -> AsyncIterator[OutboundWorld]:
    """With hosts that speak WebSocket: one that nobody knows, and a declared one."""
    async with outbound_world() as world:
        servers = [
            await asyncio.start_server(_switch_and_echo, sock=world.inside.listen(address, port))
            for address, port in ((UNKNOWN, PORT), (UNKNOWN, HOSTS_PORT))
        ]
        world.envoy.topology = Topology.of([*world.envoy.topology.services.values(), *HOSTS])
        yield world
        for server in servers:
            server.close()


class Stream:
    """An open WebSocket, as far as bytes show it."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def lives(self) -> bool:
        """Whether what is sent comes back."""
        self._writer.write(b"still there\n")
        async with asyncio.timeout(PATIENCE_SECONDS):
            return await self._reader.readline() == b"still there\n"

    async def ends(self) -> None:
        """Wait until the sidecar closes it."""
        async with asyncio.timeout(PATIENCE_SECONDS):
            try:
                while await self._reader.read(65_536):
                    pass
            except ConnectionError:
                pass


@asynccontextmanager
async def stream(world: OutboundWorld, address: str, port: int, host: bytes) -> AsyncIterator[Stream]:
    """Open one."""
    reader, writer = await asyncio.open_connection(sock=await world.inside.connect(address, port))
    try:
        writer.write(ASKED % host)
        assert b" 101 " in await reader.readuntil(b"\r\n\r\n")
        yield Stream(reader, writer)
    finally:
        writer.transport.abort()


@pytest.mark.parametrize("mode", [Mode.ENFORCE, Mode.QUARANTINE])
async def test_a_stream_to_a_host_that_is_not_approved_ends_with_the_mode_that_lets_it_pass(
    outbound: OutboundWorld, mode: Mode
) -> None:
    """Requests are decided on when they begin: one that never ends would be a way out of the quarantine."""
    await outbound.envoy.publish(Policy(1, {}, {OWN: Mode.LEARN}))
    async with stream(outbound, UNKNOWN, PORT, b"nobody.test") as opened:
        assert await opened.lives()
        await outbound.envoy.publish(Policy(1, {}, {OWN: mode}))
        await opened.ends()


async def test_a_revoked_host_is_let_go_of_and_one_that_stays_can_be_asked_again(outbound: OutboundWorld) -> None:
    """Connections to other hosts at the port are closed with it: Envoy drains a chain as a whole. An approval closes nothing."""
    rule = Rule(SOURCE, HOSTS_PORT)
    both = revise(Policy(0, {}, {OWN: Mode.ENFORCE}), {NEWS: [rule], FEED: [rule]}, 1)
    await outbound.envoy.publish(both)
    async with stream(outbound, UNKNOWN, HOSTS_PORT, b"news.test") as news:
        assert await news.lives()
        more = revise(both, {NEWS: [rule], FEED: [rule], LATE: [rule]}, 2)
        await outbound.envoy.publish(more)
        async with stream(outbound, UNKNOWN, HOSTS_PORT, b"late.test") as late:
            assert await late.lives()
            assert await news.lives()
        await outbound.envoy.publish(revise(more, {NEWS: [], FEED: [rule], LATE: [rule]}, 3))
        await news.ends()
    async with stream(outbound, UNKNOWN, HOSTS_PORT, b"feed.test") as feed:
        assert await feed.lives()
