"""A process of many sidecars' report streams, told on standard input. Measures nothing itself.

Input: one JSON object {target, root_pem, clients: [{key_pem, chain_pem, batches}]}, batches in base64. Output: ``ready`` when
every stream stands; then, for one further line of input, everything is sent, and ``done`` when all of it is acknowledged.
"""

from __future__ import annotations

import asyncio
import base64
import sys
from collections.abc import Sequence
from typing import Any

import grpc
import msgspec

from controlplane.server.telemetry import SERVICE
from protos.picket.v1.telemetry_pb2 import BatchAck
from tests.harness.adsclient import connect


async def main() -> None:
    """Connect, wait for the word, send."""
    told = msgspec.json.decode(sys.stdin.buffer.readline())
    root, channels, streams = told["root_pem"].encode(), [], []
    for one in told["clients"]:
        channel = connect(told["target"], grpc.ssl_channel_credentials(root, one["key_pem"].encode(), one["chain_pem"].encode()))
        await channel.channel_ready()
        method: Any = channel.stream_stream(f"/{SERVICE}/Report", response_deserializer=BatchAck.FromString)
        channels.append(channel)
        streams.append((method(), [base64.b64decode(batch) for batch in one["batches"]]))
    print("ready", flush=True)
    sys.stdin.buffer.readline()
    await asyncio.gather(*(_send(call, batches) for call, batches in streams))
    print("done", flush=True)
    for channel in channels:
        await channel.close()


async def _send(call: Any, batches: Sequence[bytes]) -> None:
    """Everything at once; gRPC and the server's window hold back what is too much."""

    async def write() -> None:
        for batch in batches:
            await call.write(batch)

    writing = asyncio.create_task(write())
    while isinstance(ack := await call.read(), BatchAck):
        if ack.sequence == len(batches):
            await writing
            return
    raise RuntimeError(f"the stream ended: {await call.code()} {await call.details()}")


if __name__ == "__main__":
    asyncio.run(main())
