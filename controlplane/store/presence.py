"""Which control planes are there, and which of them each connected sidecar is connected to. Commits nothing itself."""

from __future__ import annotations

from sqlalchemy import Connection, delete, select, update

from controlplane.store import tables
from controlplane.store.statements import upsert


def beat(connection: Connection, plane: str, now_ms: int, alive_since_ms: int) -> None:
    """Say that a control plane is there; nobody is connected any more to those that said nothing since then."""
    upsert(connection, tables.control_planes, [{"plane": plane, "beat_ms": now_ms}])
    planes, sidecars = tables.control_planes.c, tables.sidecars
    connection.execute(delete(tables.control_planes).where(planes.beat_ms < alive_since_ms, planes.plane != plane))
    gone = sidecars.c.plane.not_in(select(planes.plane))
    connection.execute(update(sidecars).where(sidecars.c.connected, gone).values(connected=False))


def leave(connection: Connection, plane: str) -> None:
    """A control plane ends, and its sidecars' connections with it."""
    connection.execute(delete(tables.control_planes).where(tables.control_planes.c.plane == plane))
    sidecars = tables.sidecars
    connection.execute(update(sidecars).where(sidecars.c.connected, sidecars.c.plane == plane).values(connected=False))
