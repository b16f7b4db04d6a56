"""Audit events are a chain: each has a hash over itself and the one before."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from controlplane.policy.audit import AuditEvent, link

revision = "0003"
down_revision = "0002"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Chain the events that are there."""
    op.add_column("audit", sa.Column("hash", sa.Text(), nullable=False, server_default=""))
    names = ("id", "at_ms", "actor", "action", "subject", "detail")
    audit = sa.table("audit", *(sa.column(name) for name in (*names, "hash")))
    connection = op.get_bind()
    before = ""
    for row in connection.execute(sa.select(*(audit.c[name] for name in names)).order_by(audit.c.id)).all():
        before = link(before, AuditEvent(*row))
        connection.execute(sa.update(audit).where(audit.c.id == row.id).values(hash=before))


def downgrade() -> None:
    """Remove the column."""
    op.drop_column("audit", "hash")
