"""Rollouts are stored as they are, and move only from the state that the mover saw."""

from __future__ import annotations

from dataclasses import replace

from controlplane.policy.rollouts import Plan, Rollout, Stage, Status
from controlplane.policy.rules import Mode
from controlplane.store.sql import SqlStore
from controlplane.topology.model import ServiceName

WANTED = Rollout(0, ServiceName("shop", "cart"), Mode.AUDIT, Plan(20, 60, 3), "cart-0", "ana", 5, 5)


def test_a_rollout_moves_once_from_each_state(store: SqlStore) -> None:
    with store.transaction() as transaction:
        begun = transaction.add_rollout(WANTED)
    assert begun == replace(WANTED, id=1)
    further = replace(begun, stage=Stage.SHARE, stage_ms=9)
    ended = replace(begun, status=Status.ROLLED_BACK, reason="refused", ended_ms=9, ended_by="picket")
    with store.transaction() as transaction:
        assert transaction.move_rollout(begun, further)
        assert not transaction.move_rollout(begun, ended), "it is in another stage"
    assert store.rollouts(9, running=True) == [further]
    with store.transaction() as transaction:
        assert transaction.move_rollout(further, replace(ended, stage=Stage.SHARE))
    assert store.rollouts(9, running=True) == []
    assert [rollout.reason for rollout in store.rollouts(9, running=False)] == ["refused"]
