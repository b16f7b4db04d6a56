"""The telemetry stream against a server that acknowledges what, and when, its test says."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest

from protos.picket.v1.telemetry_pb2 import BatchAck
from sidecar.channel import CallError
from sidecar.reports import WINDOW, Reports
from sidecar.spool import Spool
from tests.sidecar.received import received
from tests.sidecar.spooling import open_spool, seen


class ControlPlane:
    """Keeps the sequences that came, over all streams, and acknowledges them while it is ``storing``."""

    def __init__(self, epoch: str) -> None:
        self.came: list[int] = []
        self.storing = asyncio.Event()
        self.refuses = False
        self._epoch = epoch

    async def report(self, _: object, context: grpc.aio.ServicerContext[Any, Any]) -> None:
        acknowledging = asyncio.create_task(self._acknowledge(context, len(self.came)))
        try:
            while (body := await context.read()) is not grpc.aio.EOF:
                self.came.append(received(body).sequence)
                if self.refuses:
                    await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not like this")
        finally:
            acknowledging.cancel()

    async def _acknowledge(self, context: grpc.aio.ServicerContext[Any, Any], since: int) -> None:
        for index in range(since, since + 10_000):
            while len(self.came) <= index or not self.storing.is_set():  # noqa: ASYNC110  # the peer's pace, not an event of ours
                await asyncio.sleep(0.001)
            await context.write(BatchAck(epoch=self._epoch, sequence=self.came[index]))


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    opened = open_spool(tmp_path / "spool")
    yield opened
    opened.close()


@asynccontextmanager
async def serving(plane: ControlPlane) -> AsyncIterator[grpc.aio.Channel]:
    server = grpc.aio.server()
    handler: Any = grpc.stream_stream_rpc_method_handler(plane.report, response_serializer=BatchAck.SerializeToString)
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("picket.v1.Telemetry", {"Report": handler}),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            yield channel
    finally:
        await server.stop(None)


async def fill(spool: Spool, count: int) -> None:
    for _ in range(count):
        assert await spool.append([seen()], lost=0, cursor=b"")


async def until_came(plane: ControlPlane, count: int) -> None:
    for _ in range(10_000):
        if len(plane.came) >= count:
            return
        await asyncio.sleep(0.001)
    raise AssertionError(plane.came)


async def test_no_more_is_on_its_way_than_the_window(spool: Spool) -> None:
    """A control plane that is slow to store is not buried, and gets the rest in order as it acknowledges."""
    await fill(spool, WINDOW + 5)
    plane, reports = ControlPlane(spool.epoch), Reports(spool)
    async with serving(plane) as channel:
        running = asyncio.create_task(reports.stream(channel, None))
        await until_came(plane, WINDOW)
        await asyncio.sleep(0.1)
        assert plane.came == list(range(1, WINDOW + 1))
        plane.storing.set()
        await asyncio.wait_for(reports.emptied(), 20)
        assert plane.came == list(range(1, WINDOW + 6))
        running.cancel()
        await asyncio.wait({running})


async def test_what_was_not_acknowledged_is_sent_again_on_the_next_stream(spool: Spool) -> None:
    await fill(spool, 3)
    plane, reports = ControlPlane(spool.epoch), Reports(spool)
    async with serving(plane) as channel:
        running = asyncio.create_task(reports.stream(channel, None))
        await until_came(plane, 3)
        running.cancel()
        await asyncio.wait({running})
        assert spool.waiting_batches == 3
        plane.storing.set()
        running = asyncio.create_task(reports.stream(channel, None))
        await asyncio.wait_for(reports.emptied(), 20)
        assert plane.came == [1, 2, 3, 1, 2, 3]
        running.cancel()
        await asyncio.wait({running})


async def test_a_refusal_is_told_and_the_batch_stays(spool: Spool) -> None:
    await fill(spool, 1)
    plane = ControlPlane(spool.epoch)
    plane.refuses = True
    async with serving(plane) as channel:
        with pytest.raises(CallError, match="not like this"):
            await Reports(spool).stream(channel, None)
    assert spool.waiting_batches == 1
