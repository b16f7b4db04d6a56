"""Telemetry through a real server, real TLS and a real SQLite store: what is acknowledged, and what is refused."""

from __future__ import annotations

import asyncio
import sqlite3
import threading
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import grpc
import pytest

from controlplane.flows.model import EdgeKey
from controlplane.server import telemetry
from controlplane.server.observations import MAX_BATCH_BYTES
from controlplane.store.stored import ViolationFilter
from controlplane.workflow.record import Report
from protos.picket.v1.sidecar_pb2 import SidecarInfo
from protos.picket.v1.telemetry_pb2 import ALLOWED, DENIED, INBOUND, Batch, BatchAck, Observation
from tests.harness.adsclient import connect
from tests.harness.mesh import CART, NOW_MS, TRUST_DOMAIN, WEB, Mesh

EPOCH = "0123456789abcdef" * 2
EDGE = EdgeKey("shop/web", "shop/cart", 7070, "grpc", "POST", "/Cart/Add")


def seen(service: str = "shop/cart", count: int = 2, **changed: Any) -> Observation:
    """The web calls the cart, as the cart's sidecar saw it."""
    fields: dict[str, Any] = {
        "direction": INBOUND, "verdict": ALLOWED, "peer_id": WEB.uri(TRUST_DOMAIN), "service": service, "port": 7070,
        "protocol": "grpc", "method": "POST", "path": "/Cart/Add", "count": count, "first_seen_ms": NOW_MS, "last_seen_ms": NOW_MS,
    }  # fmt: skip
    return Observation(**(fields | changed))


def batch(sequence: int, *observations: Observation, epoch: str = EPOCH, instance: str = "cart-0", lost: int = 0) -> bytes:
    """A batch as it travels."""
    return Batch(epoch=epoch, sequence=sequence, observations=observations, lost=lost, instance=instance).SerializeToString()


async def announce(channel: grpc.aio.Channel, info: SidecarInfo) -> None:
    """One announcement."""
    ask: grpc.aio.UnaryUnaryMultiCallable[Any, Any] = channel.unary_unary(f"/{telemetry.SIDECARS_SERVICE}/Announce")
    await ask(info.SerializeToString(), timeout=20)


def reporting(channel: grpc.aio.Channel) -> Any:
    """A report stream of bytes."""
    call: grpc.aio.StreamStreamMultiCallable[Any, Any] = channel.stream_stream(
        f"/{telemetry.SERVICE}/Report", response_deserializer=BatchAck.FromString
    )
    return call()


async def report(mesh: Mesh, bodies: Sequence[bytes]) -> tuple[list[int], grpc.StatusCode, str]:
    """What the cart's sidecar hears on one stream: the acknowledged sequences, and how the stream ended."""
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        call = reporting(channel)
        acks: list[int] = []
        try:
            for body in bodies:
                await call.write(body)
            await call.done_writing()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            pass  # refused while more was on its way
        try:
            async with asyncio.timeout(20):
                while (ack := await call.read()) is not grpc.aio.EOF:
                    acks.append(ack.sequence)
        except grpc.aio.AioRpcError:
            pass  # its status is read below
        return acks, await call.code(), await call.details() or ""


async def test_a_batch_is_acknowledged_only_once_it_is_stored(mesh: Mesh, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """While another program holds the database's write lock nothing is acknowledged; afterwards it is, and it is there."""
    writing, write = threading.Event(), mesh.recorder._write

    def marked(reports: Sequence[Report]) -> Any:
        writing.set()
        return write(reports)

    monkeypatch.setattr(mesh.recorder, "_write", marked)
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        with closing(sqlite3.connect(directory / "picket.db", isolation_level=None)) as other:
            other.execute("BEGIN IMMEDIATE")
            call = reporting(channel)
            await call.write(batch(1, seen()))
            reading = asyncio.create_task(call.read())
            assert await asyncio.to_thread(writing.wait, 20)
            # A whole round trip on the same connection: an acknowledgement that was sent before would be here.
            await announce(channel, SidecarInfo(instance="cart-0"))
            assert not reading.done()
            assert mesh.store.edges() == []
            other.execute("ROLLBACK")
        assert (await reading).sequence == 1
        assert [(edge.key, edge.count) for edge in mesh.store.edges()] == [(EDGE, 2)]
        call.cancel()
    assert mesh.heard.announced == [(CART, SidecarInfo(instance="cart-0"))]
    assert mesh.heard.addresses == ["127.0.0.1"]


async def test_a_repeated_batch_is_acknowledged_and_not_counted_again(mesh: Mesh) -> None:
    """Also over another connection, as after a lost acknowledgement."""
    assert (await report(mesh, [batch(1, seen())]))[0] == [1]
    acks, code, _ = await report(mesh, [batch(1, seen()), batch(2, seen(count=5))])
    assert (acks[-1], code) == (2, grpc.StatusCode.OK)
    assert [edge.count for edge in mesh.store.edges()] == [7]
    assert [receipt.stored for _, receipt in mesh.heard.stored] == [True, False, True]


async def test_a_gap_is_stored_and_makes_the_sidecar_blind(mesh: Mesh) -> None:
    """What is missing is not waited for: it is counted, and the sidecar no longer counts as quiet."""
    acks, _, _ = await report(mesh, [batch(1, seen()), batch(4, seen())])
    assert acks[-1] == 4
    assert [receipt.gap for _, receipt in mesh.heard.stored] == [0, 2]
    assert mesh.store.sidecars()[0].blind_since_ms == NOW_MS


async def test_a_denial_is_stored_as_a_violation_and_told(mesh: Mesh) -> None:
    """A denied call makes no edge, and whoever watches hears of it with the name of the rule that refused it."""
    await report(mesh, [batch(1, seen(verdict=DENIED, deny_id="deny:shop/cart@r3"))])
    assert mesh.store.edges() == []
    assert [violation.deny_id for violation in mesh.heard.violations] == ["deny:shop/cart@r3"]
    assert mesh.store.count_violations(ViolationFilter(source="shop/web")).total == 2


async def test_who_reports_for_another_service_is_refused_and_logged(mesh: Mesh) -> None:
    """The whole batch is refused, with its honest half; what came before it stays."""
    acks, code, details = await report(mesh, [batch(1, seen()), batch(2, seen(), seen(service="shop/db"))])
    assert (acks, code) == ([1], grpc.StatusCode.PERMISSION_DENIED)
    assert "shop/cart reports for 'shop/db'" in details
    assert [(peer, reason) for peer, _, reason in mesh.heard.refusals] == [("shop/cart", details)]
    assert [edge.count for edge in mesh.store.edges()] == [2]


@pytest.mark.parametrize(
    ("body", "words"),
    [
        pytest.param(b"\xff\xff\xff", "not a picket.v1.Batch", id="garbage"),
        pytest.param(b"\x00" * (MAX_BATCH_BYTES + 1), "bytes", id="oversized"),
        pytest.param(batch(1, seen(), epoch="0" * 31), "epoch", id="epoch"),
        pytest.param(batch(0, seen()), "sequence", id="sequence"),
        pytest.param(batch(1, seen(), instance="a\nb"), "instance", id="instance"),
        pytest.param(batch(1, *[Observation()] * 10_001), "10000", id="too-many"),
        pytest.param(batch(1, seen(port=0)), "observations[0].port", id="port"),
        pytest.param(batch(1, seen(path="/a\nb")), "observations[0].path", id="control-character"),
        pytest.param(batch(1, seen(direction=0)), "observations[0].direction", id="direction"),
        pytest.param(batch(1, *[seen()] * 600, seen(verdict=0)), "observations[600].verdict", id="late-in-the-batch"),
    ],
)
async def test_a_batch_out_of_bounds_is_refused(mesh: Mesh, body: bytes, words: str) -> None:
    """Nothing of it is stored, and the sidecar is told which field is wrong."""
    acks, code, details = await report(mesh, [body])
    assert (acks, code) == ([], grpc.StatusCode.INVALID_ARGUMENT)
    assert words in details
    assert mesh.store.edges() == []
    assert [reason for _, _, reason in mesh.heard.refusals] == [details]


async def test_where_storing_fails_nothing_is_acknowledged(mesh: Mesh, directory: Path) -> None:
    """The stream ends so that the sidecar sends again, and once the database works it is all counted, once."""

    def rename(before: str, after: str) -> None:
        with closing(sqlite3.connect(directory / "picket.db", isolation_level=None)) as other:
            other.execute(f"ALTER TABLE {before} RENAME TO {after}")

    rename("epochs", "moved")
    acks, code, details = await report(mesh, [batch(1, seen()), batch(2, seen())])
    assert (acks, code) == ([], grpc.StatusCode.UNAVAILABLE)
    assert "send it again" in details
    assert "epochs" not in details
    assert mesh.heard.failed_reports > 0
    rename("moved", "epochs")
    acks, code, _ = await report(mesh, [batch(1, seen()), batch(2, seen())])
    assert (acks[-1], code) == (2, grpc.StatusCode.OK)
    assert [edge.count for edge in mesh.store.edges()] == [4]


@pytest.mark.parametrize(
    "info",
    [
        SidecarInfo(),
        SidecarInfo(instance="x" * 129),
        SidecarInfo(instance="a", envoy_version="1\n2"),
        SidecarInfo(instance="a", image_digest="latest"),
        SidecarInfo(instance="a", image_digest="sha256:" + "A" * 64),
    ],
)
async def test_an_announcement_out_of_bounds_is_refused(mesh: Mesh, info: SidecarInfo) -> None:
    """Nothing is kept of it."""
    async with connect(mesh.target, mesh.credentials(CART)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await announce(channel, info)
    assert refused.value.code() is grpc.StatusCode.INVALID_ARGUMENT
    assert mesh.heard.announced == []
