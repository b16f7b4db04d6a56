"""Rollouts of a policy revision, and rollouts that are held up."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0023"
down_revision = "0022"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns: those before were of modes, and none was held up."""
    op.add_column("rollouts", sa.Column("paused_by", sa.Text(), nullable=False, server_default=""))
    op.add_column("rollouts", sa.Column("revision", sa.BigInteger()))
    op.add_column("rollouts", sa.Column("base", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Take them away."""
    with op.batch_alter_table("rollouts") as rollouts:
        for name in ("paused_by", "revision", "base"):
            rollouts.drop_column(name)
