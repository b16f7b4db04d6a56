"""The telemetry and sidecar-state services: checked batches go to the recorder, what it stored is acknowledged. Stores nothing."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, Protocol
from urllib.parse import unquote

import grpc
import structlog
from google.protobuf.message import DecodeError

from controlplane.flows.model import Flow
from controlplane.identity.spiffe import WorkloadId
from controlplane.server.authentication import Authenticator, Unauthenticated
from controlplane.server.instances import Instances
from controlplane.server.observations import BadBatch, read_batch, read_observations
from controlplane.server.streams import Ending, Life, OpenStreams
from controlplane.server.window import Window
from controlplane.store.interface import StoreError
from controlplane.topology.model import canonical_address
from controlplane.workflow.record import Report
from controlplane.workflow.resolve import Observed
from protos.picket.v1.sidecar_pb2 import AnnounceAck, SidecarInfo
from protos.picket.v1.telemetry_pb2 import BatchAck

SERVICE = "picket.v1.Telemetry"
SIDECARS_SERVICE = "picket.v1.Sidecars"
#: Batches of one stream that are being stored at once; more wait in the sidecar's spool.
WINDOW = 16
#: Observations that are read at a stretch, before other streams have their turn.
SLICE = 250
_DIGEST = re.compile(r"sha256:[0-9a-f]{64}")
_log = structlog.get_logger("picket.telemetry")

Context = grpc.aio.ServicerContext[Any, Any]


class Recorder(Protocol):
    """Where reports go: `workflow.record.Recorder`."""

    async def room(self) -> None:
        """Return when another report may be submitted."""

    def submit(self, report: Report) -> asyncio.Future[StoreError | None]:
        """Queue a report; done when it is committed (``None``), or could not be."""


#: What the replica of a workload observed.
Resolve = Callable[[Sequence[Observed], WorkloadId, str], list[Flow]]
#: Hears of whose sidecar it is, what it says of itself, and from which address (empty for a Unix socket).
Announce = Callable[[WorkloadId, SidecarInfo, str], Awaitable[None]]
Refused = Callable[[str, str, str], None]


class Telemetry:
    """Receives reports and announcements of authenticated sidecars. ``refused`` hears peer, claim and reason."""

    def __init__(
        self,
        authenticator: Authenticator,
        recorder: Recorder,
        resolve: Resolve,
        announce: Announce,
        refused: Refused,
        streams: OpenStreams | None = None,
        instances: Instances | None = None,
    ) -> None:
        self._authenticator = authenticator
        self._recorder = recorder
        self._resolve = resolve
        self._announce = announce
        self._refused = refused
        self._streams = streams or OpenStreams()
        self._instances = instances or Instances()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, grpc.GenericRpcHandler]:
        """Both services. Requests come as bytes, so that one that does not read gets an answer of ours."""
        report: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self._report, response_serializer=BatchAck.SerializeToString
        )
        announce: grpc.RpcMethodHandler[Any, Any] = grpc.unary_unary_rpc_method_handler(
            self._on_announce, response_serializer=AnnounceAck.SerializeToString
        )
        return (
            grpc.method_handlers_generic_handler(SERVICE, {"Report": report}),
            grpc.method_handlers_generic_handler(SIDECARS_SERVICE, {"Announce": announce}),
        )

    async def _on_announce(self, body: bytes, context: Context) -> AnnounceAck:
        peer = self._authenticator.peer(context)
        if isinstance(peer, Unauthenticated):
            self._refused("", "", peer.reason)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, peer.reason)
        info = SidecarInfo()
        try:
            info.ParseFromString(body)
        except DecodeError:
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, "not a picket.v1.SidecarInfo")
        reason = _wrong(info)
        if reason:
            self._refused(str(peer.workload), str(peer.workload), reason)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)
        refusal = self._instances.refusal(peer.workload, info.instance)
        if refusal is not None:
            self._refused(str(peer.workload), info.instance, refusal.reason)
            await context.abort(refusal.code, refusal.reason)
        await self._announce(peer.workload, info, _address(context.peer()))
        return AnnounceAck()

    async def _report(self, _: object, context: Context) -> None:
        """Batches are stored side by side (the store commits them together) and acknowledged in their order."""
        peer = self._authenticator.peer(context)
        if isinstance(peer, Unauthenticated):
            self._refused("", "", peer.reason)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, peer.reason)
        refusal = self._streams.refusal(peer.workload)
        if refusal is not None:
            _log.warning("stream refused", sidecar=str(peer.workload), reason=refusal.reason)
            await context.abort(refusal.code, refusal.reason)
        window = Window(WINDOW)
        bad: BadBatch | None = None
        acknowledger: asyncio.Task[None] | None = None
        try:
            async with self._streams.life(peer) as life:
                acknowledger = asyncio.create_task(_acknowledge(window, context, life))
                bad = await self._receive(peer.workload, window, context)
            # However it ended: what was received before is stored and acknowledged first.
            window.close()
            await acknowledger
        finally:
            if acknowledger is not None:
                acknowledger.cancel()
        if bad is not None:
            self._refused(str(peer.workload), str(peer.workload), bad.reason)
            await context.abort(grpc.StatusCode.PERMISSION_DENIED if bad.forged else grpc.StatusCode.INVALID_ARGUMENT, bad.reason)
        if life.ending is not None:
            await context.abort(life.ending.code, life.ending.reason)

    async def _receive(self, reporter: WorkloadId, window: Window, context: Context) -> BadBatch | None:
        """Take batches until the sidecar is done, or sent one that is refused, or one could not be stored."""
        while (body := await context.read()) is not grpc.aio.EOF:
            # The batch waits as bytes, so that a queue that is full holds no more than it says.
            await window.room()
            await self._recorder.room()
            report = await self._read(body, reporter)
            if isinstance(report, BadBatch):
                return report
            if window.failed:
                return None
            window.add(self._recorder.submit(report), BatchAck(epoch=report.epoch, sequence=report.sequence))
        return None

    async def _read(self, body: bytes, reporter: WorkloadId) -> Report | BadBatch:
        batch = read_batch(body)
        if isinstance(batch, BadBatch):
            return batch
        refusal = self._instances.refusal(reporter, batch.instance)
        if refusal is not None:
            return BadBatch(refusal.reason)
        flows: list[Flow] = []
        for first in range(0, len(batch.observations), SLICE):
            if first:
                await asyncio.sleep(0)
            observed = read_observations(batch.observations[first : first + SLICE], reporter, first)
            if isinstance(observed, BadBatch):
                return observed
            flows += self._resolve(observed, reporter, batch.instance)
        return Report(str(reporter), batch.instance, batch.epoch, batch.sequence, batch.lost, flows)


async def _acknowledge(window: Window, context: Context, life: Life) -> None:
    """Say what is stored. Ends the stream where storing fails: the sidecar keeps the batch and sends it again."""
    while (said := await window.next()) is not None:
        if isinstance(said, StoreError):
            life.end(Ending(grpc.StatusCode.UNAVAILABLE, "the batch could not be stored; send it again"))
            return
        try:
            await context.write(said)
        except grpc.aio.BaseError:
            return  # the sidecar is gone


def _address(peer: str) -> str:
    """The address of a peer as gRPC names it (``ipv4:10.0.0.1:4242``, ``ipv6:%5B::1%5D:4242``); empty for a Unix socket.

    Source: https://github.com/grpc/grpc/blob/master/doc/naming.md
    """
    scheme, _, rest = peer.partition(":")
    host = unquote(rest).rpartition(":")[0].strip("[]") if scheme in {"ipv4", "ipv6"} else ""
    return canonical_address(host) or ""


def _wrong(info: SidecarInfo) -> str:
    """Which field is out of its bounds; empty when none is."""
    for name in ("instance", "agent_version", "envoy_version", "capture"):
        text = getattr(info, name)
        if len(text) > 128 or (text and not text.isprintable()):
            return f"{name}: longer than 128 characters, or with control characters"
    if not info.instance:
        return "instance: empty"
    if info.image_digest and _DIGEST.fullmatch(info.image_digest) is None:
        return "image_digest: not sha256: and 64 hexadecimal digits"
    if not 0 <= info.certificate_not_after_seconds < 253_402_300_800:
        return "certificate_not_after_seconds: not a time"
    return ""
