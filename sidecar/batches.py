"""Observations as serialised batches within the bounds of the wire. Pure; never stores or sends one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from protos.picket.v1.telemetry_pb2 import Batch, Observation

MAX_BATCH_BYTES = 1024 * 1024
MAX_OBSERVATIONS = 10_000
#: Epoch, instance, sequence and lost of a batch.
_RESERVE_BYTES = 1024
#: Tag and length of an observation in its batch.
_TAG_BYTES = 8


def batches_of(
    observations: Iterable[Observation], *, epoch: str, sequence: int, instance: str, lost: int, even_empty: bool = False
) -> Iterator[bytes]:
    """Batches numbered from ``sequence``; the first one tells what was lost. None when there is nothing to tell.

    ``even_empty``: one all the same, as a sign that this sidecar watches and saw nothing.
    """
    batch = Batch(epoch=epoch, sequence=sequence, instance=instance, lost=lost)
    size = _RESERVE_BYTES
    for seen in observations:
        length = seen.ByteSize() + _TAG_BYTES
        if size + length > MAX_BATCH_BYTES or len(batch.observations) >= MAX_OBSERVATIONS:
            yield batch.SerializeToString()
            sequence += 1
            batch = Batch(epoch=epoch, sequence=sequence, instance=instance)
            size = _RESERVE_BYTES
        batch.observations.append(seen)
        size += length
    if batch.observations or batch.lost or even_empty:
        yield batch.SerializeToString()
