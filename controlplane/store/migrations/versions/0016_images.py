"""Which image a sidecar's application runs, and where the sidecar called from."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0016"
down_revision = "0015"
branch_labels = None
depends_on = None

_COLUMNS = ("image_digest", "address")


def upgrade() -> None:
    """Add the columns; of sidecars that are there neither is known until they announce themselves again."""
    for name in _COLUMNS:
        op.add_column("sidecars", sa.Column(name, sa.Text(), nullable=False, server_default=""))


def downgrade() -> None:
    """Remove them."""
    for name in _COLUMNS:
        op.drop_column("sidecars", name)
