"""Observations, spools and what waits in them, for the tests of the spool."""

from __future__ import annotations

from pathlib import Path

from protos.picket.v1 import telemetry_pb2
from sidecar.spool import Spool
from tests.sidecar.received import received


def seen(count: int = 1, path: str = "") -> telemetry_pb2.Observation:
    return telemetry_pb2.Observation(
        direction=telemetry_pb2.INBOUND, verdict=telemetry_pb2.DENIED, service="shop/cart", port=80, protocol="http",
        peer_address="10.0.0.1", count=count, path=path, first_seen_ms=1, last_seen_ms=2,
    )  # fmt: skip


def open_spool(path: Path, **options: object) -> Spool:
    return Spool.open(path, **{"instance": "cart-1", **options})  # type: ignore[arg-type]  # options are forwarded as they are


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def waiting(opened: Spool) -> list[tuple[int, int]]:
    """(sequence, sum of counts) of each batch that waits."""
    batches = [(sequence, received(body)) for sequence, body in opened.after(0, 1_000)]
    assert all(batch.sequence == sequence and batch.epoch == opened.epoch for sequence, batch in batches)
    return [(sequence, sum(o.count for o in batch.observations)) for sequence, batch in batches]
