"""When reports of a sidecar went missing for the last time."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0027"
down_revision = "0026"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; of gaps that are there only their beginning is known."""
    op.add_column("reports", sa.Column("gap_ms", sa.BigInteger()))
    op.execute("UPDATE reports SET gap_ms = blind_since_ms")


def downgrade() -> None:
    """Remove it."""
    op.drop_column("reports", "gap_ms")
