"""The evidence of edges, and when services were watched."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0005"
down_revision = "0004"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables. Edges from before have their counts and times, which is what was known of them."""
    op.create_table(
        "evidence",
        sa.Column("key_hash", sa.LargeBinary(), primary_key=True, nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
    )
    op.create_table(
        "watches",
        sa.Column("service", sa.Text(), primary_key=True, nullable=False),
        sa.Column("packed", sa.LargeBinary(), nullable=False),
    )
    op.create_index("edges_by_source", "edges", ["source", "key_hash"])


def downgrade() -> None:
    """Remove them."""
    op.drop_index("edges_by_source", "edges")
    op.drop_table("watches")
    op.drop_table("evidence")
