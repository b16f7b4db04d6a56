"""How many denials each workload's sidecars reported, and how many there were when a rollout began."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0017"
down_revision = "0016"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Count from now on: a rollout that is under way counts what comes from here."""
    op.create_table(
        "denials",
        sa.Column("workload", sa.Text(), primary_key=True, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
    )
    op.add_column("rollouts", sa.Column("denied_before", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Remove both."""
    op.drop_column("rollouts", "denied_before")
    op.drop_table("denials")
