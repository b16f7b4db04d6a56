"""Report streams that end, wait, fail and begin again, through a real server and store: nothing is lost or counts twice."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.flows.model import Verdict
from controlplane.server import telemetry
from controlplane.server.telemetry import SERVICE, SIDECARS_SERVICE
from controlplane.store.interface import StoreError
from controlplane.store.sql import SqlStore
from controlplane.store.stored import ViolationFilter
from controlplane.workflow import record
from controlplane.workflow.record import Recorder
from protos.picket.v1.sidecar_pb2 import AnnounceAck, SidecarInfo
from protos.picket.v1.telemetry_pb2 import ALLOWED, DENIED, INBOUND, OUTBOUND, WOULD_DENY, Batch, BatchAck, Observation
from tests.harness.adsclient import connect
from tests.harness.mesh import CART, DB, NOW_MS, TRUST_DOMAIN, WEB, Mesh, running_mesh, until

EPOCH = "0123456789abcdef" * 2


def seen(**changes: Any) -> Observation:
    """A use of cart by web, as cart's sidecar reports it."""
    fields: dict[str, Any] = {
        "direction": INBOUND, "verdict": ALLOWED, "peer_id": WEB.uri(TRUST_DOMAIN), "peer_address": "10.0.0.1",
        "service": "shop/cart", "port": 7070, "protocol": "grpc", "method": "POST", "path": "/shop.Cart/Get",
        "count": 3, "first_seen_ms": NOW_MS - 2_000, "last_seen_ms": NOW_MS - 1_000,
    }  # fmt: skip
    return Observation(**(fields | changes))


def batch(sequence: int, *observations: Observation, **changes: Any) -> Batch:
    """A batch of cart-0."""
    fields: dict[str, Any] = {"epoch": EPOCH, "sequence": sequence, "instance": "cart-0", "observations": observations}
    return Batch(**(fields | changes))


class Reports:
    """A report stream of one sidecar."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        method: Any = channel.stream_stream(f"/{SERVICE}/Report", response_deserializer=BatchAck.FromString)
        self.call = method()

    async def send(self, *batches: Batch | bytes) -> None:
        """Send without waiting."""
        for item in batches:
            await self.call.write(item if isinstance(item, bytes) else item.SerializeToString())

    async def acknowledged(self, sequence: int) -> list[int]:
        """Wait until this sequence is acknowledged; what was, in order."""
        said: list[int] = []
        async with asyncio.timeout(20):
            while not said or said[-1] < sequence:
                ack = await self.call.read()
                assert isinstance(ack, BatchAck), await self.call.code()
                said.append(ack.sequence)
        return said

    async def status(self) -> tuple[grpc.StatusCode, str, list[int]]:
        """How the stream ended, and what was acknowledged before."""
        said = []
        with suppress(grpc.aio.AioRpcError):
            while isinstance(ack := await self.call.read(), BatchAck):
                said.append(ack.sequence)
        return await self.call.code(), await self.call.details(), said


async def test_what_the_store_refuses_is_not_acknowledged(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """The stream ends, nothing behind the failed batch is stored, and all of it is when it is sent again."""
    write = Recorder._write
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def failing(self: Recorder, reports: Sequence[Any]) -> Any:
        if any(report.sequence == 2 for report in reports):
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(20)
            raise StoreError("disk full")
        return write(self, reports)

    monkeypatch.setattr(Recorder, "_write", failing)
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        reports = Reports(channel)
        await reports.send(batch(1, seen()))
        await reports.acknowledged(1)
        await reports.send(*(batch(number, seen()) for number in range(2, 30)))
        gate.set()
        code, details, said = await reports.status()
        assert (code, said) == (grpc.StatusCode.UNAVAILABLE, [])
        assert "disk" not in details
        assert [report.sequence for report, _ in mesh.heard.stored] == [1]
        monkeypatch.undo()
        again = Reports(channel)
        await again.send(*(batch(number, seen()) for number in range(2, 30)))
        await again.acknowledged(29)
    (edge,) = mesh.store.edges()
    assert edge.count == 3 * 29
    assert mesh.store.sidecars()[0].blind_since_ms is None


async def test_one_sidecars_trouble_is_not_anothers(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch that the database will not take fails alone, though it was in one transaction with others."""
    write = Recorder._write
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()

    def failing(self: Recorder, reports: Sequence[Any]) -> Any:
        if any(report.workload == "shop/db" for report in reports):
            raise StoreError("cannot take that")
        if reports[0].sequence == 1:
            asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(20)
        return write(self, reports)

    monkeypatch.setattr(Recorder, "_write", failing)
    async with connect(mesh.target, mesh.credentials(CART)) as good, connect(mesh.target, mesh.credentials(DB)) as bad:
        healthy, poisoned = Reports(good), Reports(bad)
        await healthy.send(batch(1, seen()), batch(2, seen()), batch(3, seen()))
        await until(lambda: mesh.recorder.waiting_flows >= 2)
        await poisoned.send(batch(1, seen(service="shop/db", port=3306)))
        await until(lambda: mesh.recorder.waiting_flows >= 3)
        gate.set()
        await healthy.acknowledged(3)
        code, _, said = await poisoned.status()
    assert (code, said) == (grpc.StatusCode.UNAVAILABLE, [])


async def test_a_kill_between_storing_and_acknowledging_counts_once(directory: Path, store: SqlStore) -> None:
    """A control plane that dies loses no acknowledged batch; what it had not acknowledged is sent again and counted once."""
    async with running_mesh(directory, store) as first, connect(first.target, first.credentials(CART)) as channel:
        reports = Reports(channel)
        await reports.send(*(batch(number, seen()) for number in range(1, 40)))
        said = await reports.acknowledged(5)
        await first.kill()
        with suppress(grpc.aio.AioRpcError):
            while isinstance(ack := await reports.call.read(), BatchAck):
                said.append(ack.sequence)
    (edge,) = store.edges()
    assert edge.count >= 3 * said[-1]
    async with running_mesh(directory, store) as second, connect(second.target, second.credentials(CART)) as channel:
        again = Reports(channel)
        await again.send(*(batch(number, seen()) for number in range(said[-1] + 1, 40)))
        await again.acknowledged(39)
    (edge,) = store.edges()
    assert edge.count == 3 * 39
    assert store.sidecars()[0].blind_since_ms is None


async def test_a_stop_acknowledges_what_was_received(mesh: Mesh) -> None:
    """Streams end with advice, after what came in was stored and acknowledged."""
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        reports = Reports(channel)
        await reports.send(batch(1, seen()))
        await reports.acknowledged(1)
        await reports.send(*(batch(number, seen()) for number in (2, 3, 4)))
        await until(lambda: len(mesh.heard.stored) + mesh.recorder.waiting_flows >= 4)
        mesh.end_streams()
        code, _, said = await reports.status()
    assert (code, said[-1]) == (grpc.StatusCode.UNAVAILABLE, 4)


async def test_a_sidecar_that_is_done_gets_its_acknowledgements(mesh: Mesh) -> None:
    """Half-closing the stream ends it well, with everything acknowledged."""
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        reports = Reports(channel)
        await reports.send(batch(1, seen()), batch(2, seen()))
        await reports.call.done_writing()
        code, _, said = await reports.status()
    assert (code, said[-1]) == (grpc.StatusCode.OK, 2)


async def test_a_cancelled_stream_leaves_nothing_behind(mesh: Mesh) -> None:
    """A sidecar that goes away in the middle costs nothing more, and what it sent may be stored or not, but once."""
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        for number in range(1, 20):
            reports = Reports(channel)
            await reports.send(batch(number, seen()))
            reports.call.cancel()
        await until(lambda: not mesh._streams[1]._open and not mesh.recorder.waiting_flows)
        final = Reports(channel)
        await final.send(*(batch(number, seen()) for number in range(1, 21)))
        await final.acknowledged(20)
    assert len([report for report, receipt in mesh.heard.stored if receipt.stored]) == len(
        {report.sequence for report, receipt in mesh.heard.stored if receipt.stored}
    )


async def test_what_is_seen_at_the_source(mesh: Mesh) -> None:
    """Outbound: uses of hosts outside are learned from the source, uses of meshed services from their own sidecars only."""
    outside = {"direction": OUTBOUND, "service": "", "peer_id": "", "peer_address": "", "protocol": "http", "path": "/"}
    async with connect(mesh.target, mesh.credentials(WEB)) as channel:
        reports = Reports(channel)
        await reports.send(
            batch(
                1,
                seen(**outside, dialled_address="93.184.216.34", port=80, host="Example.com:80"),
                seen(**outside, dialled_address="10.0.0.2", port=7070),
                seen(**outside | {"protocol": "tls"}, dialled_address="93.184.216.34", port=443, server_name="*.evil"),
                seen(**outside, dialled_address="10.0.0.3", port=3306, verdict=DENIED, deny_id="deny:shop/web@r1/egress"),
                seen(**outside, dialled_address="8.8.8.8", port=53, verdict=WOULD_DENY, deny_id="deny:shop/web@r1/egress"),
                instance="web-0",
            )
        )
        await reports.acknowledged(1)
    assert [(edge.key.source, edge.key.destination, edge.key.port) for edge in mesh.store.edges()] == [
        ("shop/web", "external/8.8.8.8", 53),
        ("shop/web", "external/93.184.216.34", 443),
        ("shop/web", "external/example.com", 80),
    ]
    assert {(v.edge.destination, v.verdict) for v in mesh.store.violations(ViolationFilter(), 9)} == {
        ("shop/db", Verdict.DENIED), ("external/8.8.8.8", Verdict.WOULD_DENY),
    }  # fmt: skip


async def test_a_clock_ahead_does_not_move_ours(mesh: Mesh) -> None:
    """Nothing was seen in the future."""
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        reports = Reports(channel)
        await reports.send(batch(1, seen(first_seen_ms=NOW_MS + 10_000_000, last_seen_ms=NOW_MS + 20_000_000)))
        await reports.acknowledged(1)
    (edge,) = mesh.store.edges()
    assert (edge.first_seen_ms, edge.last_seen_ms) == (NOW_MS, NOW_MS)


async def test_reports_without_an_identity_are_refused(directory: Path, store: SqlStore) -> None:
    """Nobody reports anonymously, and the attempt is heard of."""
    async with running_mesh(directory, store, insecure=True) as mesh, connect(mesh.target) as channel:
        code, _, _ = await Reports(channel).status()
        assert code is grpc.StatusCode.UNAUTHENTICATED
        assert await announce(channel, SidecarInfo(instance="x")) is grpc.StatusCode.UNAUTHENTICATED
    assert len(mesh.heard.refusals) == 2


async def announce(channel: grpc.aio.Channel, info: SidecarInfo | bytes) -> grpc.StatusCode:
    """An announcement's status."""
    method: Any = channel.unary_unary(f"/{SIDECARS_SERVICE}/Announce", response_deserializer=AnnounceAck.FromString)
    call = method(info if isinstance(info, bytes) else info.SerializeToString(), timeout=20)
    found: grpc.StatusCode = await call.code()
    return found


async def test_announcements(mesh: Mesh) -> None:
    """A sidecar says what it is; what is out of bounds is refused with a clear status."""
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        good = SidecarInfo(instance="cart-0", agent_version="1", envoy_version="1.40", capture="redirect")
        assert await announce(channel, good) is grpc.StatusCode.OK
        for wrong in (
            SidecarInfo(), SidecarInfo(instance="x" * 129), SidecarInfo(instance="a", envoy_version="\x00"), b"\xff",
            SidecarInfo(instance="a", certificate_not_after_seconds=-1),
            SidecarInfo(instance="a", certificate_not_after_seconds=2**60),
        ):  # fmt: skip
            assert await announce(channel, wrong) is grpc.StatusCode.INVALID_ARGUMENT
    assert mesh.heard.announced == [(CART, good)]


async def test_a_full_queue_holds_streams_back(mesh: Mesh, monkeypatch: pytest.MonkeyPatch) -> None:
    """While the store is slow, sidecars wait with their batches; none is lost when it goes on."""
    monkeypatch.setattr(record, "MAX_WAITING_FLOWS", 10)
    assert telemetry.WINDOW > 10
    gate = asyncio.Event()
    loop = asyncio.get_running_loop()
    write = Recorder._write

    def slow(self: Recorder, reports: Sequence[Any]) -> Any:
        asyncio.run_coroutine_threadsafe(gate.wait(), loop).result(20)
        return write(self, reports)

    monkeypatch.setattr(Recorder, "_write", slow)
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        reports = Reports(channel)
        await reports.send(batch(1, seen()))
        await until(lambda: not mesh.recorder.waiting_flows)
        sending = asyncio.create_task(reports.send(*(batch(number, seen(), seen()) for number in range(2, 40))))
        await until(lambda: mesh.recorder.waiting_flows >= 10)
        assert mesh.recorder.waiting_flows < 14
        gate.set()
        await reports.acknowledged(39)
        await sending
    (edge,) = mesh.store.edges()
    assert edge.count == 3 + 38 * 6
