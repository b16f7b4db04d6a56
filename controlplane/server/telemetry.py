"""The telemetry and sidecar-state services: checks batches, hands them on, acknowledges what was stored. Never stores.

The reporter is the authenticated peer; a batch that reports for another service is refused as a whole.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from controlplane.identity.spiffe import WorkloadId
from controlplane.server.authentication import Authenticator, Unauthenticated
from protos.picket.v1 import sidecar_pb2, telemetry_pb2

SERVICE = "picket.v1.Telemetry"
SIDECARS_SERVICE = "picket.v1.Sidecars"
MAX_BATCH_BYTES = 1024 * 1024
MAX_OBSERVATIONS = 10_000
#: Batches of one sidecar that are being stored at once; more wait in the sidecar's spool.
WINDOW = 16
_LIMITS = {
    "peer_id": 512, "peer_address": 64, "service": 130, "dialled_address": 64, "protocol": 32, "method": 64,
    "path": 1024, "host": 255, "server_name": 255, "deny_id": 256, "reason": 256,
}  # fmt: skip
_MAX_MS = 253_402_300_800_000  # the year 10000
_log = structlog.get_logger("picket.telemetry")


@dataclass(frozen=True, slots=True)
class ReceivedBatch:
    """A checked batch of one authenticated reporter."""

    reporter: WorkloadId
    instance: str
    epoch: str
    sequence: int
    lost: int
    observations: Sequence[telemetry_pb2.Observation]


@dataclass(frozen=True, slots=True)
class BadBatch:
    """Why a batch is refused."""

    reason: str
    forged: bool = False


Record = Callable[[ReceivedBatch], Awaitable[None]]
Announce = Callable[[WorkloadId, sidecar_pb2.SidecarInfo], Awaitable[None]]


def check_batch(batch: telemetry_pb2.Batch, reporter: WorkloadId) -> ReceivedBatch | BadBatch:
    """Bounds and identity of a batch; the message says which field is wrong."""
    if len(batch.epoch) != 32 or any(c not in "0123456789abcdef" for c in batch.epoch):
        return BadBatch("epoch: 32 hexadecimal digits are wanted")
    if not 1 <= batch.sequence < 2**63:
        return BadBatch("sequence: counts from 1")
    if len(batch.instance) > 128:
        return BadBatch("instance: longer than 128 characters")
    if len(batch.observations) > MAX_OBSERVATIONS:
        return BadBatch(f"observations: {len(batch.observations)}, at most {MAX_OBSERVATIONS} fit a batch")
    if batch.lost >= 2**53:
        return BadBatch("lost: not a count")
    for index, seen in enumerate(batch.observations):
        reason = _check_observation(seen)
        if reason:
            return BadBatch(f"observations[{index}].{reason}")
        if seen.direction == telemetry_pb2.INBOUND and seen.service != str(reporter):
            return BadBatch(f"observations[{index}].service: {reporter} reports for {seen.service[:130]!r}", forged=True)
    return ReceivedBatch(reporter, batch.instance, batch.epoch, batch.sequence, batch.lost, batch.observations)


def _check_observation(seen: telemetry_pb2.Observation) -> str:
    if seen.direction not in {telemetry_pb2.INBOUND, telemetry_pb2.OUTBOUND}:
        return "direction: INBOUND or OUTBOUND"
    if seen.verdict not in {telemetry_pb2.ALLOWED, telemetry_pb2.WOULD_DENY, telemetry_pb2.DENIED}:
        return "verdict: ALLOWED, WOULD_DENY or DENIED"
    if not 0 < seen.port < 65536:
        return "port: 1 to 65535"
    if seen.count >= 2**53:
        return "count: not a count"
    if not 0 < seen.first_seen_ms <= seen.last_seen_ms < _MAX_MS:
        return "first_seen_ms, last_seen_ms: Unix milliseconds, in this order"
    for name, limit in _LIMITS.items():
        value = getattr(seen, name)
        if len(value) > limit:
            return f"{name}: longer than {limit} characters"
        if value and not value.isprintable():
            return f"{name}: holds control characters"
    return ""


class Telemetry:
    """Receives reports and announcements of authenticated sidecars."""

    def __init__(
        self, authenticator: Authenticator, record: Record, announce: Announce, refused: Callable[[str, str, str], None]
    ) -> None:
        self._authenticator = authenticator
        self._record = record
        self._announce = announce
        self._refused = refused

    def handlers(self) -> tuple[grpc.GenericRpcHandler, grpc.GenericRpcHandler]:
        """Both services."""
        report = grpc.stream_stream_rpc_method_handler(
            self._report, response_serializer=telemetry_pb2.BatchAck.SerializeToString
        )
        announce = grpc.unary_unary_rpc_method_handler(
            self._on_announce,
            request_deserializer=sidecar_pb2.SidecarInfo.FromString,
            response_serializer=sidecar_pb2.AnnounceAck.SerializeToString,
        )
        return (
            grpc.method_handlers_generic_handler(SERVICE, {"Report": report}),
            grpc.method_handlers_generic_handler(SIDECARS_SERVICE, {"Announce": announce}),
        )

    async def _peer(self, context: grpc.aio.ServicerContext[Any, Any]) -> WorkloadId:
        peer = self._authenticator.peer(context)
        if isinstance(peer, Unauthenticated):
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, peer.reason)
            raise AssertionError("abort returns never")
        return peer.workload

    async def _on_announce(
        self, request: sidecar_pb2.SidecarInfo, context: grpc.aio.ServicerContext[Any, Any]
    ) -> sidecar_pb2.AnnounceAck:
        workload = await self._peer(context)
        lengths = (len(request.instance), len(request.agent_version), len(request.envoy_version), len(request.capture))
        if max(lengths) > 128:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "SidecarInfo: a text is longer than 128 characters")
        await self._announce(workload, request)
        return sidecar_pb2.AnnounceAck()

    async def _report(self, requests: AsyncIterator[bytes], context: grpc.aio.ServicerContext[Any, Any]) -> None:
        """Batches are stored side by side (the store commits them together) and acknowledged in their order."""
        reporter = await self._peer(context)
        pending: asyncio.Queue[tuple[asyncio.Task[None], telemetry_pb2.BatchAck] | None] = asyncio.Queue(WINDOW)

        async def acknowledge() -> None:
            while (item := await pending.get()) is not None:
                stored, ack = item
                await stored
                await context.write(ack)

        acknowledger = asyncio.create_task(acknowledge())
        try:
            async for body in requests:
                batch = self._read(body, reporter)
                if isinstance(batch, BadBatch):
                    self._refused(str(reporter), str(reporter), batch.reason)
                    code = grpc.StatusCode.PERMISSION_DENIED if batch.forged else grpc.StatusCode.INVALID_ARGUMENT
                    await pending.put(None)
                    await acknowledger
                    await context.abort(code, batch.reason)
                    return
                task = asyncio.create_task(self._stored(batch))
                await pending.put((task, telemetry_pb2.BatchAck(epoch=batch.epoch, sequence=batch.sequence)))
                if acknowledger.done():
                    break
            await pending.put(None)
            await acknowledger
        finally:
            acknowledger.cancel()

    async def _stored(self, batch: ReceivedBatch) -> None:
        await self._record(batch)

    @staticmethod
    def _read(body: bytes, reporter: WorkloadId) -> ReceivedBatch | BadBatch:
        if len(body) > MAX_BATCH_BYTES:
            return BadBatch(f"a batch of {len(body)} bytes; at most {MAX_BATCH_BYTES} are read")
        batch = telemetry_pb2.Batch()
        try:
            batch.ParseFromString(body)
        except DecodeError as error:
            return BadBatch(f"not a picket.v1.Batch: {error}")
        return check_batch(batch, reporter)
