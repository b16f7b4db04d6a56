"""Batches keep to the bounds of the wire."""

from __future__ import annotations

from sidecar.batches import MAX_BATCH_BYTES, MAX_OBSERVATIONS, batches_of
from tests.sidecar.received import received
from tests.sidecar.spooling import seen

EPOCH = "0" * 32


def test_many_observations_are_split_and_numbered_on() -> None:
    bodies = list(batches_of([seen()] * (MAX_OBSERVATIONS + 1), epoch=EPOCH, sequence=7, instance="cart-1", lost=3))
    batches = [received(body) for body in bodies]
    assert [(b.sequence, b.lost, len(b.observations)) for b in batches] == [(7, 3, MAX_OBSERVATIONS), (8, 0, 1)]


def test_long_observations_are_split_by_their_size() -> None:
    observations = [seen(path="/" + "ä" * 1000) for _ in range(1_500)]
    bodies = list(batches_of(observations, epoch=EPOCH, sequence=1, instance="x" * 128, lost=0))
    assert max(map(len, bodies)) <= MAX_BATCH_BYTES
    assert len(received(bodies[0]).observations) > 400
    assert sum(len(received(body).observations) for body in bodies) == 1_500


def test_a_loss_alone_is_told_and_nothing_makes_no_batch() -> None:
    (body,) = batches_of([], epoch=EPOCH, sequence=1, instance="cart-1", lost=4)
    assert received(body).lost == 4
    assert list(batches_of([], epoch=EPOCH, sequence=1, instance="cart-1", lost=0)) == []
