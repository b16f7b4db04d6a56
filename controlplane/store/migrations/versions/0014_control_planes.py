"""Which control planes share the database, and which of them a sidecar is connected to."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0014"
down_revision = "0013"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the column. Who is connected is said again by the control plane that starts."""
    op.create_table(
        "control_planes",
        sa.Column("plane", sa.Text(), primary_key=True, nullable=False),
        sa.Column("beat_ms", sa.BigInteger(), nullable=False),
    )
    op.add_column("sidecars", sa.Column("plane", sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Remove them."""
    op.drop_column("sidecars", "plane")
    op.drop_table("control_planes")
