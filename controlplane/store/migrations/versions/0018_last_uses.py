"""When approved edges were last used, of those whose uses are not kept any more."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0018"
down_revision = "0017"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table. What was removed before is not known any more."""
    op.create_table(
        "last_uses",
        *(sa.Column(name, sa.Text(), primary_key=True, nullable=False) for name in ("service", "source")),
        sa.Column("port", sa.Integer(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("last_used_ms", sa.BigInteger(), nullable=False),
    )


def downgrade() -> None:
    """Remove it."""
    op.drop_table("last_uses")
