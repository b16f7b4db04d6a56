"""Timed exceptions."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0004"
down_revision = "0003"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table, and the series of its numbers."""
    op.create_table(
        "grants",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("service", "source")),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("http", sa.Text(), nullable=False),
        sa.Column("before", sa.Text()),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("reason", "ticket", "actor")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("created_ms", "expires_ms")),
        sa.Column("ended_ms", sa.BigInteger()),
        sa.Column("ended_by", sa.Text(), nullable=False),
    )
    counters = sa.table("counters", sa.column("name"), sa.column("value"))
    op.execute(counters.insert().values(name="grant", value=0))


def downgrade() -> None:
    """Remove both."""
    op.drop_table("grants")
    counters = sa.table("counters", sa.column("name"))
    op.execute(counters.delete().where(counters.c.name == "grant"))
