"""Channels: what their errors mean, and that a control plane which stands still is noticed."""

from __future__ import annotations

import asyncio
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path

import grpc
import pytest

from protos.picket.v1.telemetry_pb2 import Batch, BatchAck
from sidecar import channel
from sidecar.channel import CallError, call_once, mesh_channel, open_stream
from sidecar.identity import Identity
from sidecar.join import Join
from tests.harness.directories import short_directory

#: Acknowledges every batch, except that an epoch may name a status to end with.
_SERVER = """
import asyncio, grpc, sys
from protos.picket.v1.telemetry_pb2 import Batch, BatchAck

async def stream(requests, context):
    async for batch in requests:
        if batch.epoch:
            await context.abort(grpc.StatusCode[batch.epoch], "because of\\nthis")
        if batch.sequence == 0:
            return
        await context.write(BatchAck(sequence=batch.sequence))

async def once(batch, context):
    if batch.epoch:
        await context.abort(grpc.StatusCode[batch.epoch], "because")
    return BatchAck(sequence=batch.sequence)

async def main():
    server = grpc.aio.server(options=[("grpc.http2.min_ping_interval_without_data_ms", 100)])
    kinds = {"request_deserializer": Batch.FromString, "response_serializer": BatchAck.SerializeToString}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("test", {
        "Stream": grpc.stream_stream_rpc_method_handler(stream, **kinds),
        "Once": grpc.unary_unary_rpc_method_handler(once, **kinds),
    }),))
    server.add_insecure_port(sys.argv[1])
    await server.start()
    print("up", flush=True)
    await server.wait_for_termination()

asyncio.run(main())
"""
_NOBODY = Identity("spiffe://picket.test/ns/shop/sa/cart", "", "", "", 0, 0)


@pytest.fixture
def target() -> Iterator[str]:
    with short_directory() as directory:
        yield f"unix:{directory}/server.sock"


@asynccontextmanager
async def serving(target: str) -> AsyncIterator[tuple[grpc.aio.Channel, asyncio.subprocess.Process]]:
    root = str(Path(channel.__file__).parents[1])
    process = await asyncio.create_subprocess_exec(sys.executable, "-c", _SERVER, target, stdout=asyncio.subprocess.PIPE, cwd=root)
    assert process.stdout is not None
    try:
        assert await process.stdout.readline() == b"up\n"
        opened = mesh_channel(Join(target, target, "picket.test", "shop/cart", "", "", "x", insecure=True), _NOBODY)
        yield opened, process
        await opened.close()
    finally:
        process.kill()
        await process.wait()


async def test_calls_and_streams_carry_messages(target: str) -> None:
    async with serving(target) as (opened, _):
        answer = await call_once(opened, "/test/Once", Batch(sequence=7), BatchAck, metadata=None, timeout_seconds=10)
        assert answer.sequence == 7
        stream = open_stream(opened, "/test/Stream", BatchAck, metadata=None)
        for sequence in (1, 2):
            await stream.send(Batch(sequence=sequence).SerializeToString())
            assert (await stream.receive()).sequence == sequence
        stream.close()


@pytest.mark.parametrize(
    ("status", "lasting"),
    [("PERMISSION_DENIED", True), ("UNAUTHENTICATED", True), ("INVALID_ARGUMENT", True), ("NOT_FOUND", True),
     ("UNAVAILABLE", False), ("INTERNAL", False), ("RESOURCE_EXHAUSTED", False), ("CANCELLED", False), ("ABORTED", False)],
)  # fmt: skip
async def test_a_status_says_whether_trying_again_makes_sense(target: str, status: str, *, lasting: bool) -> None:
    async with serving(target) as (opened, _):
        with pytest.raises(CallError, match=f"{status}: because") as told:
            await call_once(opened, "/test/Once", Batch(epoch=status), BatchAck, metadata=None, timeout_seconds=10)
        assert told.value.lasting is lasting
        stream = open_stream(opened, "/test/Stream", BatchAck, metadata=None)
        await stream.send(Batch(epoch=status).SerializeToString())
        with pytest.raises(CallError, match=f"{status}: because of this") as told:
            await stream.receive()
        assert told.value.lasting is lasting


async def test_a_stream_that_the_other_side_ends_well_has_ended_too(target: str) -> None:
    async with serving(target) as (opened, _):
        stream = open_stream(opened, "/test/Stream", BatchAck, metadata=None)
        await stream.send(Batch(sequence=0).SerializeToString())
        with pytest.raises(CallError, match="OK: ended by the control plane"):
            await stream.receive()
        sending = asyncio.create_task(stream.send(b"more"))
        done, _ = await asyncio.wait({sending}, timeout=0.1)
        assert not done  # why it ended is for the receiver to tell
        sending.cancel()


async def test_nobody_there_is_told_soon(target: str) -> None:
    opened = mesh_channel(Join(target, target, "picket.test", "shop/cart", "", "", "x", insecure=True), _NOBODY)
    with pytest.raises(CallError, match="UNAVAILABLE") as told:
        await call_once(opened, "/test/Once", Batch(), BatchAck, metadata=None, timeout_seconds=10)
    assert not told.value.lasting
    await opened.close()


async def test_a_control_plane_that_stands_still_is_noticed(target: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its connection stays open: only an unanswered ping tells."""
    monkeypatch.setattr(channel, "KEEPALIVE_SECONDS", 1)
    monkeypatch.setattr(channel, "KEEPALIVE_TIMEOUT_SECONDS", 1)
    async with serving(target) as (opened, process):
        stream = open_stream(opened, "/test/Stream", BatchAck, metadata=None)
        await stream.send(Batch(sequence=1).SerializeToString())
        assert (await stream.receive()).sequence == 1
        process.send_signal(signal.SIGSTOP)
        async with asyncio.timeout(30):
            with pytest.raises(CallError, match="UNAVAILABLE"):
                await stream.receive()
