"""When services were watched, as the batches of one write transaction say. Commits nothing itself."""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import Connection, select

from controlplane.flows.model import Flow
from controlplane.graph.evidence import DAY_MS
from controlplane.graph.packed import pack_watch, unpack_watch
from controlplane.graph.watch import Watch
from controlplane.store import tables
from controlplane.store.known import Known
from controlplane.store.rereading import Rereading
from controlplane.store.statements import upsert

#: A sidecar whose reports waited was watching meanwhile, but how long ago is its own word: a day is believed.
MAX_LATE_MS = DAY_MS


class WatchRecording:
    """Which services one transaction heard of."""

    def __init__(self, connection: Connection, known: Known[str, Watch]) -> None:
        self._connection = connection
        self._known = known
        self._heard: dict[str, Watch] = {}
        self._stored: list[tuple[str, Watch]] = []

    def hear(self, workload: str, flows: Sequence[Flow], lost: int, now_ms: int, start: str = "") -> None:
        """A sidecar of a service reported; ``start`` names the life that it began, if it is new."""
        watch = self._heard.get(workload)
        if watch is None:
            watch = self._heard[workload] = Watch()
        watch.hear(now_ms, lost)
        if flows:
            watch.hear(max(min(flow.last_seen_ms for flow in flows), now_ms - MAX_LATE_MS))
        if start:
            watch.start(start, now_ms)

    def finish(self) -> None:
        """Write what is new."""
        fresh = sorted((name, watch) for name, watch in self._heard.items() if not self._is_known(name, watch))
        if not fresh:
            return
        table = tables.watches
        upsert(self._connection, table, [{"service": name, "packed": pack_watch(Watch())} for name, _ in fresh], {})
        for name, watch in fresh:
            query = select(table.c.packed).where(table.c.service == name).with_for_update()
            watch.merge(unpack_watch(bytes(self._connection.execute(query).scalar_one())))
        upsert(self._connection, table, [{"service": name, "packed": pack_watch(watch)} for name, watch in fresh])
        self._stored = fresh

    def committed(self) -> None:
        """What was written is stored."""
        self._known.put(self._stored)

    def _is_known(self, name: str, watch: Watch) -> bool:
        known = self._known.get(name)
        return known is not None and known.holds(watch)


def watch_reading() -> Rereading[tuple[str, Watch]]:
    """What `select_watches` remembers."""
    return Rereading(lambda row: (row[0], unpack_watch(bytes(row[1]))))


def select_watches(connection: Connection, reading: Rereading[tuple[str, Watch]]) -> dict[str, Watch]:
    """When each service was watched."""
    return dict(reading.read(connection.execute(select(tables.watches.c.service, tables.watches.c.packed))))
