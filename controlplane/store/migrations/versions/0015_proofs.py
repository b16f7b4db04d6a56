"""Proofs of enforcement, and which violations are theirs."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0015"
down_revision = "0014"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the table and the series of its numbers; no violation before was a probe's."""
    op.create_table(
        "proofs",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("service", sa.Text(), nullable=False),
        sa.Column("port", sa.Integer(), nullable=False),
        sa.Column("address", sa.Text(), nullable=False),
        sa.Column("revision", sa.BigInteger(), nullable=False),
        sa.Column("actor", sa.Text(), nullable=False),
        sa.Column("created_ms", sa.BigInteger(), nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("status", "source", "instance", "mark")),
        sa.Column("tried_ms", sa.BigInteger()),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("answer", "told")),
        sa.Column("answered_ms", sa.BigInteger()),
        sa.Column("violation", sa.BigInteger()),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("deny_id", "reason")),
        sa.Column("ended_ms", sa.BigInteger()),
    )
    op.create_index("proofs_by_target", "proofs", ["service", "port", "address", "id"])
    op.create_index("proofs_by_status", "proofs", ["status", "id"])
    op.create_index("proofs_by_revision", "proofs", ["revision", "id"])
    counters = sa.table("counters", sa.column("name"), sa.column("value"))
    op.execute(counters.insert().values(name="proof", value=0))
    op.add_column("violations", sa.Column("probe", sa.BigInteger(), nullable=False, server_default="0"))


def downgrade() -> None:
    """Remove all of it."""
    with op.batch_alter_table("violations") as violations:
        violations.drop_column("probe")
    op.drop_table("proofs")
    counters = sa.table("counters", sa.column("name"))
    op.execute(counters.delete().where(counters.c.name == "proof"))
