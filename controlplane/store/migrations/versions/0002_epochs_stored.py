"""Epochs know when a batch of theirs last came, so that those that are over can be removed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None

_FROM_NOW_ON = {
    "sqlite": "UPDATE epochs SET stored_ms = CAST(strftime('%s', 'now') AS INTEGER) * 1000",
    "postgresql": "UPDATE epochs SET stored_ms = CAST(EXTRACT(EPOCH FROM now()) AS BIGINT) * 1000",
}


def upgrade() -> None:
    """Those that are there already count from now on: their batches may still come again."""
    op.add_column("epochs", sa.Column("stored_ms", sa.BigInteger(), nullable=False, server_default="0"))
    op.execute(_FROM_NOW_ON[op.get_bind().dialect.name])


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("epochs", "stored_ms")
