"""Which control planes are there, and which of them each connected sidecar is connected to. Commits nothing itself."""

from __future__ import annotations

from sqlalchemy import ColumnElement, Connection, delete, select, tuple_, update

from controlplane.store import tables
from controlplane.store.statements import upsert


def beat(connection: Connection, plane: str, now_ms: int, alive_since_ms: int) -> bool:
    """Say that a control plane is there; nobody is connected any more to those that said nothing since then.

    ``False`` when it counted as gone itself, or is new: none of its sidecars is connected any more, then.
    """
    planes = tables.control_planes.c
    known = update(tables.control_planes).where(planes.plane == plane).values(beat_ms=now_ms)
    was_there = connection.execute(known).rowcount == 1
    if not was_there:
        upsert(connection, tables.control_planes, [{"plane": plane, "beat_ms": now_ms}])
    connection.execute(delete(tables.control_planes).where(planes.beat_ms < alive_since_ms, planes.plane != plane))
    _disconnect(connection, tables.sidecars.c.plane.not_in(select(planes.plane)))
    return was_there


def leave(connection: Connection, plane: str) -> None:
    """A control plane ends, and its sidecars' connections with it."""
    connection.execute(delete(tables.control_planes).where(tables.control_planes.c.plane == plane))
    _disconnect(connection, tables.sidecars.c.plane == plane)


def _disconnect(connection: Connection, gone: ColumnElement[bool]) -> None:
    """Nobody of these is connected.

    Rows that another control plane is writing are left to it, and to the next beat: its sidecars come over by the hundred, and
    two that wait for each other's rows would both lose what they write.
    """
    sidecars = tables.sidecars
    key = (sidecars.c.workload, sidecars.c.instance)
    chosen = select(*key).where(sidecars.c.connected, gone).with_for_update(skip_locked=True)
    connection.execute(update(sidecars).where(tuple_(*key).in_(chosen)).values(connected=False))
