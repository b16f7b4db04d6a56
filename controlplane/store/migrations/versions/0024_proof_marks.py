"""Proofs by the mark of their probe: whoever writes marks of their own must not cost a look at all of them."""

from __future__ import annotations

from alembic import op

revision = "0024"
down_revision = "0023"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the index."""
    op.create_index("proofs_by_mark", "proofs", ["mark"])


def downgrade() -> None:
    """Remove it."""
    op.drop_index("proofs_by_mark", "proofs")
