"""Leases and last uses of approved edges as rows, and back. Commits nothing, and never says when a lease ends."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from sqlalchemy import Connection, select

from controlplane.policy.leases import EdgeLease, from_ms
from controlplane.policy.traffic_policy import Held, Lease
from controlplane.store import tables
from controlplane.store.rereading import Columns, Rereading
from controlplane.store.statements import upsert
from controlplane.topology.model import parse_service_name


def upsert_leases(connection: Connection, leases: Iterable[EdgeLease]) -> None:
    """Set leases, each in place of the one before; of several of one edge the last counts."""
    rows = {
        held.held: {
            "service": str(held.service), "source": held.source, "port": held.port, "owner": held.lease.owner,
            "reason": held.lease.reason, "ticket": held.lease.ticket, "expires_ms": held.expires_ms, "actor": held.actor,
            "set_ms": held.set_ms, "written": held.written,
        }
        for held in leases
    }  # fmt: skip
    upsert(connection, tables.leases, [rows[key] for key in sorted(rows)])


def lease_reading() -> Rereading[EdgeLease]:
    """What `select_leases` remembers."""
    return Rereading(_lease, key_columns=3)


def select_leases(connection: Connection, reading: Rereading[EdgeLease]) -> list[EdgeLease]:
    """All of them, ordered by service, source and port."""
    table = tables.leases.c
    query = select(
        table.service, table.source, table.port, table.owner, table.reason, table.ticket, table.expires_ms, table.actor,
        table.set_ms, table.written,
    )  # fmt: skip
    return sorted(reading.read(connection.execute(query)), key=lambda held: held.held)


def _lease(row: Columns) -> EdgeLease:
    service, source, port, owner, reason, ticket, expires_ms, actor, set_ms, written = row
    lease = Lease(owner, reason, ticket, None if expires_ms is None else from_ms(expires_ms))
    return EdgeLease(parse_service_name(service), source, port, lease, actor, set_ms, written)


def upsert_last_uses(connection: Connection, uses: Mapping[Held, int]) -> None:
    """Keep when approved edges were last used (Unix milliseconds); the later of two stays."""
    rows = [
        {"service": str(service), "source": source, "port": port, "last_used_ms": used_ms}
        for (service, source, port), used_ms in sorted(uses.items())
    ]
    upsert(connection, tables.last_uses, rows, {"last_used_ms": "greatest"})


def select_last_uses(connection: Connection) -> dict[Held, int]:
    """All that were kept."""
    rows = connection.execute(select(tables.last_uses))
    return {(parse_service_name(row.service), row.source, row.port): row.last_used_ms for row in rows}
