"""Local users and their access tokens."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0019"
down_revision = "0018"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the tables, and the series of the tokens' numbers."""
    op.create_table(
        "accounts",
        sa.Column("name", sa.Text(), primary_key=True, nullable=False),
        sa.Column("role", sa.Text(), nullable=False),
        sa.Column("namespaces", sa.Text()),
        sa.Column("password", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
    )
    op.create_table(
        "access_tokens",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("account", "label", "role")),
        sa.Column("namespaces", sa.Text()),
        sa.Column("hash", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        sa.Column("created_by", sa.Text(), nullable=False),
        *(sa.Column(name, sa.BigInteger()) for name in ("expires_ms", "last_used_ms", "revoked_ms")),
    )
    op.create_index("access_tokens_by_hash", "access_tokens", ["hash"], unique=True)
    op.create_index("access_tokens_by_account", "access_tokens", ["account"])
    counters = sa.table("counters", sa.column("name"), sa.column("value"))
    op.execute(counters.insert().values(name="access-token", value=0))


def downgrade() -> None:
    """Remove them."""
    op.drop_table("access_tokens")
    op.drop_table("accounts")
    counters = sa.table("counters", sa.column("name"))
    op.execute(counters.delete().where(counters.c.name == "access-token"))
