"""Staged rollouts as rows, and back. Commits nothing, and never says what is next for one."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from sqlalchemy import Connection, update

from controlplane.policy.rollouts import Plan, Rollout, Stage, Status
from controlplane.policy.rules import Mode
from controlplane.store import tables
from controlplane.store.statements import newest, next_number
from controlplane.topology.model import parse_service_name


def insert_rollout(connection: Connection, rollout: Rollout) -> Rollout:
    """Store one under the next number."""
    stored = replace(rollout, id=next_number(connection, "rollout"))
    plan = stored.plan
    connection.execute(
        tables.rollouts.insert().values(
            id=stored.id, service=str(stored.service), before=str(stored.before), share_percent=plan.share_percent,
            hold_seconds=plan.hold_seconds, max_denials=plan.max_denials, denied_before=stored.denied_before,
            first=stored.first, actor=stored.actor, created_ms=stored.created_ms,
            paused_by=stored.paused_by, revision=stored.revision, base=stored.base, **_moving(stored),
        )
    )  # fmt: skip
    return stored


def move_rollout(connection: Connection, before: Rollout, after: Rollout) -> bool:
    """Put one into another state; ``False`` when it is not in the state before any more."""
    table = tables.rollouts
    statement = update(table).where(
        table.c.id == before.id, table.c.status == str(before.status), table.c.stage == str(before.stage)
    )
    return connection.execute(statement.values(**_moving(after))).rowcount == 1


def pause_rollout(connection: Connection, rollout_id: int, paused_by: str) -> bool:
    """Hold up a running one, or with an empty name let it go on; ``False`` when it has ended. A step meanwhile does not undo it."""
    table = tables.rollouts
    running = update(table).where(table.c.id == rollout_id, table.c.status == str(Status.RUNNING))
    return connection.execute(running.values(paused_by=paused_by)).rowcount == 1


def select_rollouts(connection: Connection, limit: int, before: int | None, *, running: bool) -> list[Rollout]:
    """Newest first."""
    query = newest(tables.rollouts.c.id, limit, before)
    if running:
        query = query.where(tables.rollouts.c.status == str(Status.RUNNING))
    return [_rollout(row) for row in connection.execute(query).mappings()]


def _moving(rollout: Rollout) -> dict[str, Any]:
    return {
        "stage": str(rollout.stage), "stage_ms": rollout.stage_ms, "taken_ms": rollout.taken_ms, "status": str(rollout.status),
        "reason": rollout.reason, "ended_ms": rollout.ended_ms, "ended_by": rollout.ended_by,
    }  # fmt: skip


def _rollout(row: Mapping[Any, Any]) -> Rollout:
    plan = Plan(row["share_percent"], row["hold_seconds"], row["max_denials"])
    return Rollout(
        row["id"], parse_service_name(row["service"]), Mode(row["before"]), plan, row["first"], row["actor"], row["created_ms"],
        row["stage_ms"], Stage(row["stage"]), row["taken_ms"], Status(row["status"]), row["reason"], row["ended_ms"],
        row["ended_by"], row["denied_before"], row["paused_by"], row["revision"], row["base"],
    )  # fmt: skip
