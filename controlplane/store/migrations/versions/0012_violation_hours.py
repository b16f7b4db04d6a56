"""Violations by the hour, and indices that end with the order in which violations are read."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0012"
down_revision = "0011"
branch_labels = None
depends_on = None

_HOUR_MS = 3_600_000
_KEY = ("source", "destination", "port", "protocol", "verdict")
_BEFORE = {"time": ("last_seen_ms",), "destination": ("destination", "last_seen_ms"), "source": ("source", "last_seen_ms")}
_AFTER = {"newest": (), "newest_to": ("destination",), "newest_from": ("source",), "newest_denied": ("deny_id",)}


def upgrade() -> None:
    """Make them; the sums hold what is stored, by the hour in which each was last seen."""
    op.create_table(
        "violation_hours",
        sa.Column("hour", sa.Integer(), primary_key=True, autoincrement=False, nullable=False),
        *(
            sa.Column(name, sa.Integer() if name == "port" else sa.Text(), primary_key=True, autoincrement=False, nullable=False)
            for name in _KEY
        ),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    columns = ", ".join(_KEY)
    op.execute(
        f"INSERT INTO violation_hours (hour, {columns}, count) "  # noqa: S608  # the names stand above
        f"SELECT last_seen_ms / {_HOUR_MS}, {columns}, sum(count) FROM violations GROUP BY last_seen_ms / {_HOUR_MS}, {columns}"
    )
    op.create_index("violation_hours_from", "violation_hours", ["source", "hour"])
    op.create_index("violation_hours_to", "violation_hours", ["destination", "hour"])
    op.create_table(
        "violation_totals",
        sa.Column("hour", sa.Integer(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("port", sa.Integer(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("protocol", sa.Text(), primary_key=True, nullable=False),
        sa.Column("verdict", sa.Text(), primary_key=True, nullable=False),
        sa.Column("count", sa.BigInteger(), nullable=False),
        sqlite_with_rowid=False,
    )
    op.execute(
        "INSERT INTO violation_totals SELECT hour, port, protocol, verdict, sum(count) FROM violation_hours "
        "GROUP BY hour, port, protocol, verdict"
    )
    for name in _BEFORE:
        op.drop_index(f"violations_by_{name}", "violations")
    for name, first in _AFTER.items():
        op.create_index(f"violations_{name}", "violations", [*first, "last_seen_ms", "id"])


def downgrade() -> None:
    """The indices of before, and no sums."""
    for name in _AFTER:
        op.drop_index(f"violations_{name}", "violations")
    for name, columns in _BEFORE.items():
        op.create_index(f"violations_by_{name}", "violations", list(columns))
    op.drop_table("violation_totals")
    op.drop_table("violation_hours")
