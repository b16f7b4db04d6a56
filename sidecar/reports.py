"""The telemetry stream: batches from the spool to the control plane, acknowledgements back. Never reads a batch.

A batch leaves the spool only when the control plane says that it is stored. After a reconnect everything that is not
acknowledged is sent again; sequence numbers make that harmless.
"""

from __future__ import annotations

import asyncio
from typing import Protocol

import grpc

from protos.picket.v1.telemetry_pb2 import BatchAck
from sidecar.channel import Metadata, Stream, open_stream
from sidecar.race import first

_METHOD = "/picket.v1.Telemetry/Report"
#: Batches that are on their way at once.
WINDOW = 16


class Waiting(Protocol):
    """Where reports wait: `spool.Spool`."""

    def after(self, sequence: int, limit: int) -> list[tuple[int, bytes]]:
        """Batches above a sequence, in order."""

    def acknowledge(self, epoch: str, sequence: int) -> None:
        """Everything up to here is stored."""

    async def wait_for(self, sequence: int) -> None:
        """Return when there is something above a sequence."""

    @property
    def first_waiting(self) -> int:
        """The lowest sequence that is not acknowledged."""

    @property
    def waiting_batches(self) -> int:
        """How many are not acknowledged."""


class Reports:
    """Empties a spool."""

    def __init__(self, spool: Waiting) -> None:
        self._spool = spool
        self._acknowledged = asyncio.Event()

    async def stream(self, opened: grpc.aio.Channel, metadata: Metadata | None) -> str:
        """One stream; it ends with an error only.

        Raises:
            CallError: the control plane went away, or refused a batch.
        """
        stream = open_stream(opened, _METHOD, BatchAck, metadata=metadata)
        try:
            return await first(self._receive(stream), self._send(stream))
        finally:
            stream.close()

    async def _receive(self, stream: Stream[BatchAck]) -> str:
        while True:
            ack = await stream.receive()
            self._spool.acknowledge(ack.epoch, ack.sequence)
            self._acknowledged.set()

    async def _send(self, stream: Stream[BatchAck]) -> str:
        sent = self._spool.first_waiting - 1
        while True:
            await self._spool.wait_for(sent)
            free = WINDOW - (sent + 1 - self._spool.first_waiting)
            if free <= 0:
                self._acknowledged.clear()
                await self._acknowledged.wait()
                continue
            for sequence, body in self._spool.after(sent, free):
                await stream.send(body)
                sent = sequence

    async def emptied(self) -> None:
        """Return when nothing waits any more."""
        while self._spool.waiting_batches:
            self._acknowledged.clear()
            await self._acknowledged.wait()
