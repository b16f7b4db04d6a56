"""A process of many delta ADS clients, told on standard input; it writes when each response arrived. Measures nothing itself.

Input: one JSON object {target, root_pem, clients: [{node, claim, key_pem, chain_pem}]}; with ``raw`` a bare stream of bytes is
opened instead. Output: ``ready``; then, for each further line of input, what has arrived since the last: lines
``INDEX TYPE MONOTONIC_SECONDS`` (the clock is the machine's) and ``end``. So whoever measures is not busy reading meanwhile.
"""

from __future__ import annotations

import asyncio
import resource
import sys
import time
from typing import Any

import grpc
import msgspec

from controlplane.xds import types
from tests.harness.adsclient import DeltaClient, claim, connect

RAW_METHOD = "/picket.bench.Raw/Stream"


def allow_many_files() -> None:
    """A connection is an open file, and 1,024 are what a process gets unless it asks."""
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


async def main() -> None:
    """Connect, then answer until standard input ends."""
    allow_many_files()
    told = msgspec.json.decode(sys.stdin.buffer.readline())
    arrivals: list[str] = []
    clients = [await _client(told, index, one, arrivals) for index, one in enumerate(told["clients"])]
    print("ready", flush=True)
    while await asyncio.to_thread(sys.stdin.buffer.readline):
        told_now, arrivals[:] = arrivals[:], []
        print("".join(told_now) + "end", flush=True)
    for client in clients:
        await client.close()


async def _client(told: dict[str, Any], index: int, one: dict[str, str], arrivals: list[str]) -> Any:
    credentials = None
    if one["key_pem"]:
        credentials = grpc.ssl_channel_credentials(told["root_pem"].encode(), one["key_pem"].encode(), one["chain_pem"].encode())
    channel = connect(told["target"], credentials)
    if told["raw"]:
        return await _Raw.open(channel, index, arrivals)
    client = DeltaClient(channel, one["node"], claim(one["claim"]) if credentials is None else ())
    client.arrived = lambda response: arrivals.append(f"{index} {types.SHORT_NAMES[response.type_url]} {time.monotonic()}\n")
    await client.subscribe_to_everything()
    await client.until(lambda: bool(client.held.get(types.EXTENSION)))
    return client


class _Raw:
    """A bare stream that answers each message with a short one."""

    def __init__(self, call: Any, index: int, arrivals: list[str]) -> None:
        self._call = call
        self._task = asyncio.create_task(self._answer(index, arrivals))

    @classmethod
    async def open(cls, channel: grpc.aio.Channel, index: int, arrivals: list[str]) -> _Raw:
        """Open it and say something, so that it stands."""
        call: Any = channel.stream_stream(RAW_METHOD)()
        await call.write(b"hello")
        return cls(call, index, arrivals)

    async def _answer(self, index: int, arrivals: list[str]) -> None:
        while (body := await self._call.read()) is not grpc.aio.EOF:
            arrivals.append(f"{index} ECDS {time.monotonic()}\n")
            await self._call.write(body[:64])

    async def close(self) -> None:
        """End it."""
        self._call.cancel()
        await asyncio.wait((self._task,))


if __name__ == "__main__":
    asyncio.run(main())
