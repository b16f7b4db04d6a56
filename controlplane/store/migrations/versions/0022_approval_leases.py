"""What those who agree say for the lease of an edge, so that it is not lost while others have to agree."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0022"
down_revision = "0021"
branch_labels = None
depends_on = None

_TEXTS = ("owner", "reason", "ticket")


def upgrade() -> None:
    """Add the columns."""
    for name in _TEXTS:
        op.add_column("approvals", sa.Column(name, sa.Text(), nullable=False, server_default=""))
    op.add_column("approvals", sa.Column("expires_ms", sa.BigInteger()))


def downgrade() -> None:
    """Remove them."""
    for name in (*_TEXTS, "expires_ms"):
        op.drop_column("approvals", name)
