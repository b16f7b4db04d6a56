"""The probes service: streams to sidecars that are willing to try forbidden connections. Chooses none, and judges no answer.

A sidecar is who its certificate says; what it answers counts only for what it was asked.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection
from typing import Any

import grpc
import structlog
from google.protobuf.message import DecodeError

from controlplane.identity.spiffe import WorkloadId, parse_workload
from controlplane.policy.proofs import Answer, Proof, speaks_http
from controlplane.server.authentication import Authenticator, Unauthenticated
from controlplane.server.instances import Instances
from controlplane.server.streams import OpenStreams
from controlplane.store.interface import StoreError
from controlplane.topology.model import Topology
from controlplane.topology.protocol import Handling, handling
from controlplane.xds.tls import ALPN, ALPN_HTTP
from protos.picket.v1 import sidecar_pb2
from protos.picket.v1.sidecar_pb2 import Probe, ProbeAnswer

SERVICE = "picket.v1.Probes"
MAX_ANSWER_BYTES = 4096
#: Probes of one sidecar that it has not been sent yet; it is asked for one at a time, so there are never as many.
MAX_QUEUED = 4
_ANSWERS = {
    sidecar_pb2.REFUSED: Answer.REFUSED, sidecar_pb2.PASSED: Answer.PASSED, sidecar_pb2.OPEN: Answer.OPEN,
    sidecar_pb2.STRANGER: Answer.STRANGER, sidecar_pb2.UNREACHED: Answer.UNREACHED,
}  # fmt: skip
_log = structlog.get_logger("picket.probes")

Context = grpc.aio.ServicerContext[Any, Any]
Who = tuple[WorkloadId, str]


class Probes:
    """Sidecars that listen for probes. Lives on the server's event loop. Implements `workflow.proving.Couriers`."""

    def __init__(
        self,
        authenticator: Authenticator,
        answered: Callable[[Who, str, Answer, str], None],
        refused: Callable[[str, str, str], None],
        streams: OpenStreams,
        instances: Instances,
    ) -> None:
        """``answered`` hears who says what of which mark, in a thread; ``refused`` peer, claim and reason."""
        self._authenticator = authenticator
        self._answered = answered
        self._refused = refused
        self._streams = streams
        self._instances = instances
        self._queues: dict[Who, asyncio.Queue[Probe]] = {}

    def handlers(self) -> grpc.GenericRpcHandler:
        """The service."""
        take: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(
            self._take, response_serializer=Probe.SerializeToString
        )
        return grpc.method_handlers_generic_handler(SERVICE, {"Take": take})

    def listening(self) -> Collection[Who]:
        """Who is willing, as TLS proved it."""
        return tuple(self._queues)

    def send(self, proof: Proof, topology: Topology) -> None:
        """Have a proof's source try it. One that has gone gives no answer."""
        queue = self._queues.get((parse_workload(proof.source), proof.instance))
        service = topology.services.get(proof.target.service)
        port = None if service is None else service.port(proof.target.port)
        if queue is None or port is None or queue.full():
            return
        inspected = handling(port.protocol) is Handling.INSPECT
        queue.put_nowait(
            Probe(
                mark=proof.mark, address=proof.target.address, port=port.target, workload=str(proof.target.service),
                alpn=ALPN_HTTP if inspected else ALPN, http=speaks_http(port),
            )
        )  # fmt: skip

    async def _take(self, _: object, context: Context) -> None:
        peer = self._authenticator.peer(context)
        if isinstance(peer, Unauthenticated):
            self._refused("", "", peer.reason)
            await context.abort(grpc.StatusCode.UNAUTHENTICATED, peer.reason)
        refusal = self._streams.refusal(peer.workload)
        if refusal is not None:
            await context.abort(refusal.code, refusal.reason)
        async with self._streams.life(peer) as life:
            reason = await self._serve(peer.workload, context)
        if life.ending is not None:
            await context.abort(life.ending.code, life.ending.reason)
        if reason:
            self._refused(str(peer.workload), str(peer.workload), reason)
            await context.abort(grpc.StatusCode.INVALID_ARGUMENT, reason)

    async def _serve(self, workload: WorkloadId, context: Context) -> str:
        """One stream until its sidecar leaves; why it is refused, empty when it is not."""
        first = _read(await context.read())
        if not isinstance(first, ProbeAnswer):
            return first
        if not 0 < len(first.instance) <= 128 or not first.instance.isprintable():
            return "instance: 1 to 128 characters, none of them a control character"
        refusal = self._instances.refusal(workload, first.instance)
        if refusal is not None:
            return refusal.reason
        who, queue = (workload, first.instance), asyncio.Queue[Probe](MAX_QUEUED)
        self._queues[who] = queue  # a newer stream of the same replica takes the place of an older one
        giving = asyncio.create_task(_give(queue, context))
        try:
            while (body := await context.read()) is not grpc.aio.EOF:
                said = _read(body)
                if not isinstance(said, ProbeAnswer):
                    return said
                answer = _ANSWERS.get(said.outcome)
                if answer is None or len(said.mark) > 64 or len(said.told) > 200:
                    return "outcome, mark, told: not an answer to a probe"
                await self._tell(who, said.mark, answer, said.told)
            return ""
        finally:
            if self._queues.get(who) is queue:
                del self._queues[who]
            giving.cancel()
            await asyncio.wait((giving,))

    async def _tell(self, who: Who, mark: str, answer: Answer, told: str) -> None:
        try:
            await asyncio.to_thread(self._answered, who, mark, answer, told)
        except StoreError as error:
            _log.error("an answer to a probe is not stored", sidecar=str(who[0]), instance=who[1], error=str(error))


def _read(body: object) -> ProbeAnswer | str:
    """A message, or what is wrong with it; empty text at the stream's end."""
    if not isinstance(body, bytes):
        return ""
    if len(body) > MAX_ANSWER_BYTES:
        return f"an answer of {len(body)} bytes; at most {MAX_ANSWER_BYTES} are read"
    said = ProbeAnswer()
    try:
        said.ParseFromString(body)
    except DecodeError:
        return "not a picket.v1.ProbeAnswer"
    return said


async def _give(queue: asyncio.Queue[Probe], context: Context) -> None:
    while True:
        await context.write(await queue.get())
