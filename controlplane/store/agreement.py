"""Approvals and comments as rows, and back. Commits nothing, and never says whether an approval is enough."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import asdict, replace
from typing import Any

from sqlalchemy import Connection, delete, select

from controlplane.policy.approvals import Approval, Comment
from controlplane.policy.leases import from_ms, to_ms
from controlplane.policy.traffic_policy import Lease
from controlplane.store import tables
from controlplane.store.statements import next_number, parts, upsert


def upsert_approvals(connection: Connection, approvals: Iterable[Approval]) -> None:
    """Keep approvals; one that is given again is new again."""
    rows = {(approval.question, approval.actor): _row(approval) for approval in approvals}
    upsert(connection, tables.approvals, [rows[key] for key in sorted(rows)])


def delete_approvals(connection: Connection, questions: Collection[str]) -> None:
    """Forget who agreed to some questions: they are decided."""
    for part in parts(sorted(set(questions))):
        connection.execute(delete(tables.approvals).where(tables.approvals.c.question.in_(part)))


def delete_approvals_by(connection: Connection, actor: str) -> None:
    """Forget what somebody agreed to."""
    connection.execute(delete(tables.approvals).where(tables.approvals.c.actor == actor))


def select_approvals(connection: Connection, questions: Collection[str], since_ms: int) -> list[Approval]:
    """Those of some questions that are not older, in the order in which they were given."""
    table = tables.approvals
    found = [
        Approval(row.question, row.actor, row.at_ms, _lease(row))
        for part in parts(sorted(set(questions)))
        for row in connection.execute(select(table).where(table.c.question.in_(part), table.c.at_ms >= since_ms))
    ]
    return sorted(found, key=lambda approval: (approval.at_ms, approval.actor))


def insert_comment(connection: Connection, comment: Comment) -> Comment:
    """Store one under the next number."""
    stored = replace(comment, id=next_number(connection, "comment"))
    connection.execute(tables.comments.insert().values(**asdict(stored)))
    return stored


def select_comments(connection: Connection, edges: Collection[str]) -> list[Comment]:
    """Those of some edges, oldest first."""
    table = tables.comments
    found = [
        Comment(row.id, row.edge, row.actor, row.text, row.at_ms)
        for part in parts(sorted(set(edges)))
        for row in connection.execute(select(table).where(table.c.edge.in_(part)))
    ]
    return sorted(found, key=lambda comment: comment.id)


def _row(approval: Approval) -> dict[str, Any]:
    lease = approval.lease
    return {
        "question": approval.question, "actor": approval.actor, "at_ms": approval.at_ms,
        "owner": lease.owner, "reason": lease.reason, "ticket": lease.ticket,
        "expires_ms": None if lease.expires is None else to_ms(lease.expires),
    }  # fmt: skip


def _lease(row: Any) -> Lease:
    return Lease(row.owner, row.reason, row.ticket, None if row.expires_ms is None else from_ms(row.expires_ms))
