"""Incidents, and what people did about them."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0019"
branch_labels = None
depends_on = None

_SERIES = ("incident", "incident-note")


def upgrade() -> None:
    """Make the tables, and the series of their numbers."""
    op.create_table(
        "incidents",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("kind", "anchor", "sources", "places")),
        *(sa.Column(name, sa.Integer(), nullable=False) for name in ("source_count", "place_count")),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("count", "denied", "first_seen_ms", "last_seen_ms")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("why", "status", "assignee")),
        sa.Column("closed_ms", sa.BigInteger()),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("closed_by", "close_reason")),
    )
    op.create_index("incidents_newest", "incidents", ["last_seen_ms", "id"])
    op.create_table(
        "incident_notes",
        sa.Column("id", sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False),
        *(sa.Column(name, sa.BigInteger(), nullable=False) for name in ("incident", "at_ms")),
        *(sa.Column(name, sa.Text(), nullable=False) for name in ("actor", "action", "text")),
    )
    op.create_index("incident_notes_of", "incident_notes", ["incident", "id"])
    counters = sa.table("counters", sa.column("name"), sa.column("value"))
    for name in _SERIES:
        op.execute(counters.insert().values(name=name, value=0))


def downgrade() -> None:
    """Remove them."""
    op.drop_table("incident_notes")
    op.drop_table("incidents")
    counters = sa.table("counters", sa.column("name"))
    for name in _SERIES:
        op.execute(counters.delete().where(counters.c.name == name))
