"""What the control plane makes of a batch: its own reader, so that a report it would refuse fails a test."""

from __future__ import annotations

from controlplane.identity.spiffe import WorkloadId
from controlplane.server.observations import BadBatch, read_batch, read_observations
from protos.picket.v1.telemetry_pb2 import Batch

CART = WorkloadId("shop", "cart")


def received(body: bytes) -> Batch:
    """A batch of shop/cart, which the control plane must accept."""
    batch = read_batch(body)
    assert not isinstance(batch, BadBatch), batch.reason
    observed = read_observations(batch.observations, CART, 0)
    assert not isinstance(observed, BadBatch), observed.reason
    return batch
