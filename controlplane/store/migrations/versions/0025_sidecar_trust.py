"""Which roots a sidecar trusts, and which of the authority's keys signed its certificate: a rotation waits for both."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0025"
down_revision = "0024"
branch_labels = None
depends_on = None

_COLUMNS = ("bundle", "issuer")


def upgrade() -> None:
    """Add the columns; of sidecars that are there neither is known until they connect again."""
    for name in _COLUMNS:
        op.add_column("sidecars", sa.Column(name, sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Remove them."""
    for name in _COLUMNS:
        op.drop_column("sidecars", name)
