"""Who agreed to what a proposal asks, and what was said about edges."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0010"
down_revision = "0009"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and the series of the comments' numbers."""
    op.create_table(
        "approvals",
        sa.Column("question", sa.Text(), primary_key=True, nullable=False),
        sa.Column("actor", sa.Text(), primary_key=True, nullable=False),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_table(
        "comments",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("edge", "actor", "text")),
        sa.Column("at_ms", sa.BigInteger(), nullable=False),
    )
    op.create_index("comments_by_edge", "comments", ["edge", "id"])
    counters = sa.table("counters", sa.column("name"), sa.column("value"))
    op.execute(counters.insert().values(name="comment", value=0))


def downgrade() -> None:
    """Remove them."""
    op.drop_table("comments")
    op.drop_table("approvals")
    counters = sa.table("counters", sa.column("name"))
    op.execute(counters.delete().where(counters.c.name == "comment"))
