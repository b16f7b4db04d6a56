"""Whose sidecar told of a use, and since when modes hold."""

from __future__ import annotations

import time

import sqlalchemy as sa
from alembic import op

revision = "0011"
down_revision = "0010"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of uses before, nobody knows whose sidecar told; the modes that are set hold from now on, as far as is known."""
    op.add_column("history", sa.Column("direction", sa.Text(), nullable=False, server_default=""))
    changes = op.create_table(
        "mode_changes",
        sa.Column("at_ms", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), primary_key=True, nullable=False) for name in ("namespace", "name")),
        sa.Column("mode", sa.Text(), nullable=False),
    )
    modes = sa.table("modes", sa.column("namespace"), sa.column("name"), sa.column("mode"))
    now_ms = time.time_ns() // 1_000_000
    held = sa.select(sa.literal(now_ms), modes.c.namespace, modes.c.name, modes.c.mode)
    op.execute(changes.insert().from_select(["at_ms", "namespace", "name", "mode"], held))


def downgrade() -> None:
    """Remove both."""
    op.drop_table("mode_changes")
    op.drop_column("history", "direction")
