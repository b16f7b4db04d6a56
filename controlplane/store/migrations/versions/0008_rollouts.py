"""Staged rollouts."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0008"
down_revision = "0007"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, and the series of its numbers."""
    op.create_table(
        "rollouts",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("service", "before")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("share_percent", "hold_seconds", "max_denials")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("first", "actor")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("created_ms", "stage_ms")),
        sa.Column("stage", sa.Text(), nullable=False),
        sa.Column("taken_ms", sa.BigInteger()),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("status", "reason")),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("ended_by", sa.Text(), nullable=False),
    )
    counters = sa.table("counters", sa.column("name"), sa.column("value"))
    op.execute(counters.insert().values(name="rollout", value=0))


def downgrade() -> None:
    """Remove both."""
    op.drop_table("rollouts")
    counters = sa.table("counters", sa.column("name"))
    op.execute(counters.delete().where(counters.c.name == "rollout"))
