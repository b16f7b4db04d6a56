"""How soon a real Envoy refuses a revoked peer on a connection that it has open.

From the push's begin to the first 403 on a keep-alive mTLS connection that asks without pause. The raw limit is Envoy's own ACK.
"""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.revise import revise
from controlplane.policy.rules import Policy
from controlplane.topology.model import ServiceName
from tests.bench.allowlist import application, policy, sidecar
from tests.bench.measurement import Measurement, median, percentile
from tests.harness.envoy import EnvoyUnderTest

ROUNDS = 100
PEERS = 50
_SERVER, _CLIENT = ServiceName("bench", "server"), WorkloadId("bench", "client")
_REQUEST = b"GET / HTTP/1.1\r\nhost: server\r\n\r\n"


def run() -> list[Measurement]:
    """Measure."""
    return asyncio.run(_measure())


async def _measure() -> list[Measurement]:
    allowed = policy(PEERS)
    async with AsyncExitStack() as stack:
        await stack.enter_async_context(application())
        server = await stack.enter_async_context(sidecar(EnvoyUnderTest, WorkloadId(*_SERVER), allowed, None))
        refused_ms, acked_ms = await _revocations(server, allowed)
    return [
        Measurement(
            "revoked on an open keep-alive connection, p99", percentile(refused_ms, 0.99), "ms", 10, raw=percentile(acked_ms, 0.99),
            detail={"p50 ms": median(refused_ms), "ACK p50 ms": median(acked_ms)},
        )
    ]  # fmt: skip


def _without_client(allowed: Policy, revision: int) -> Policy:
    rules = frozenset(rule for rule in allowed.of(_SERVER).rules if rule.source != _CLIENT)
    return revise(allowed, {_SERVER: rules}, revision)


async def _revocations(server: EnvoyUnderTest, allowed: Policy) -> tuple[list[float], list[float]]:
    reader, writer = await _connection(server)
    refused, acked = [], []
    try:
        for round_number in range(ROUNDS):
            await server.publish(allowed)
            while await _ask(reader, writer) != 200:
                pass
            started = time.perf_counter()
            pushing = asyncio.create_task(server.publish(_without_client(allowed, round_number + 2)))
            while await _ask(reader, writer) != 403:
                pass
            refused.append((time.perf_counter() - started) * 1000)
            await pushing
            acked.append((time.perf_counter() - started) * 1000)
    finally:
        writer.close()
    return refused, acked


async def _connection(server: EnvoyUnderTest) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    """A connection as the client's sidecar; a listener that was acknowledged may still wait for its certificate."""
    async with asyncio.timeout(10):
        while True:
            try:
                return await asyncio.open_connection("127.91.0.1", _port(server), ssl=server.client_context(_CLIENT))
            except ConnectionRefusedError:
                await asyncio.sleep(0.05)


async def _ask(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> int:
    writer.write(_REQUEST)
    head = await reader.readuntil(b"\r\n\r\n")
    for row in head.lower().split(b"\r\n"):
        if row.startswith(b"content-length:"):
            await reader.readexactly(int(row.split(b":")[1]))
    return int(head.split(b" ", 2)[1])


def _port(server: EnvoyUnderTest) -> int:
    return server.topology.services[_SERVER].ports[0].target
