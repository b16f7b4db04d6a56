"""The first schema. Frozen: a later change is a later migration, whatever `store.tables` says by then."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None

COUNTERS = ("revision", "proposal", "violation", "audit")
TABLES = (
    "counters", "join_tokens", "audit", "epochs", "reports", "sidecars", "modes", "proposals", "active_revision", "revisions",
    "violations", "edges",
)  # fmt: skip


def _text(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), nullable=False) for name in names]


def _number(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=False) for name in names]


def _time(*names: str) -> list[sa.Column[int]]:
    return [sa.Column(name, sa.BigInteger(), nullable=True) for name in names]


def _serial(name: str) -> sa.Column[int]:
    return sa.Column(name, sa.BigInteger(), primary_key=True, autoincrement=False, nullable=False)


def _key(*names: str) -> list[sa.Column[str]]:
    return [sa.Column(name, sa.Text(), primary_key=True, nullable=False) for name in names]


def _edge() -> list[sa.Column[str] | sa.Column[int]]:
    port: sa.Column[int] = sa.Column("port", sa.Integer(), nullable=False)
    return [*_text("source", "destination"), port, *_text("protocol", "method", "path")]


def upgrade() -> None:
    """Make every table, and the row of every counter."""
    _make_flow_tables()
    _make_review_tables()
    _make_sidecar_tables()
    counters = op.create_table("counters", *_key("name"), *_number("value"))
    op.bulk_insert(counters, [{"name": name, "value": 0} for name in COUNTERS])


def _make_flow_tables() -> None:
    op.create_table(
        "edges",
        sa.Column("key_hash", sa.LargeBinary(), primary_key=True, nullable=False),
        *_edge(),
        *_number("count", "first_seen_ms", "last_seen_ms"),
    )
    op.create_table(
        "violations",
        _serial("id"),
        sa.Column("fingerprint", sa.LargeBinary(), nullable=False),
        *_number("opened_ms"),
        *_edge(),
        *_text("verdict", "reporter", "direction"),
        *_number("count", "first_seen_ms", "last_seen_ms"),
        *_text("host", "server_name", "peer_address", "deny_id", "reason"),
    )
    op.create_index("violations_by_window", "violations", ["fingerprint", "opened_ms"])
    op.create_index("violations_by_time", "violations", ["last_seen_ms"])
    op.create_index("violations_by_destination", "violations", ["destination", "last_seen_ms"])
    op.create_index("violations_by_source", "violations", ["source", "last_seen_ms"])


def _make_review_tables() -> None:
    op.create_table("revisions", _serial("number"), *_number("created_ms"), *_text("author", "note", "document"))
    op.create_table(
        "active_revision",
        sa.Column("singleton", sa.Integer(), primary_key=True, autoincrement=False, nullable=False),
        sa.Column("number", sa.BigInteger(), sa.ForeignKey("revisions.number"), nullable=False),
    )
    op.create_table(
        "proposals",
        _serial("number"),
        *_number("created_ms"),
        *_text("status"),
        *_number("base_revision"),
        *_text("document"),
        *_time("decided_ms"),
        *_text("decided_by", "comment"),
        *_time("revision"),
    )
    op.create_index("proposals_by_status", "proposals", ["status", "number"])
    op.create_table("modes", *_key("namespace", "name"), *_text("mode"))
    op.create_table("audit", _serial("id"), *_number("at_ms"), *_text("actor", "action", "subject", "detail"))


def _make_sidecar_tables() -> None:
    op.create_table(
        "sidecars",
        *_key("workload", "instance"),
        sa.Column("connected", sa.Boolean(), nullable=False),
        *_time("connected_ms"),
        *_text("sent_version", "acked_version"),
        *_number("revision"),
        *_text("nack_type", "nack_message"),
        *_time("nack_ms"),
        *_text("agent_version", "envoy_version", "capture"),
        *_time("certificate_not_after_ms"),
    )
    op.create_table(
        "reports", *_key("workload", "instance"), *_number("last_report_ms"), *_time("blind_since_ms"), *_number("lost")
    )
    op.create_table("epochs", *_key("workload", "instance", "epoch"), *_number("sequence"))
    op.create_table("join_tokens", *_key("token_hash"), *_text("workload"), *_number("created_ms", "expires_ms"), *_time("used_ms"))


def downgrade() -> None:
    """Remove every table."""
    for name in TABLES:
        op.drop_table(name)
