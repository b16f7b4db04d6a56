"""Which leases stand in a file that was applied."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Of leases that are there nobody knows; the next time that their file is applied they are the file's."""
    op.add_column("leases", sa.Column("written", sa.Boolean(), nullable=False, server_default=sa.false()))


def downgrade() -> None:
    """Remove it."""
    op.drop_column("leases", "written")
