"""Uses of edges by the hour: what a replay reads. Never learns from them, and commits nothing itself.

Counts are gathered in memory and written with a transaction of reports once a minute, before they are read and at the end: so a
report costs no row of its own. A process that dies, or a write that fails, loses the counts of a minute here, and nothing of edges
and violations.
A path of an HTTP request counts under its shape, so identifiers make no rows; one path that was seen is kept with it.
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest

import msgspec
from sqlalchemy import Connection, select

from controlplane.flows.model import NEVER_PASSED_ON, EdgeKey, Flow, HourlyFlow, Verdict
from controlplane.graph.evidence import HOUR_MS
from controlplane.graph.ledger import UNSAYABLE, Shapes, group_of
from controlplane.store import tables
from controlplane.store.statements import upsert

#: Rows of one source in an hour, as far as this process knows; beyond them its paths are not told apart.
MAX_ROWS_A_SOURCE = 5_000
WRITE_INTERVAL_MS = 60_000
_MAX_COUNT = 2**40
_SUMS = {"count": "add", "deny_id": "new"}
#: Hour, edge, verdict, and whose sidecar told: ``in``, ``out``, or empty for none.
_Key = tuple[int, EdgeKey, Verdict, str]


@dataclass(slots=True)
class Uses:
    """Of one edge, hour, verdict and direction: how many, one of the paths, and the last deny ID."""

    path: str
    count: int = 0
    deny_id: str = ""


class Hours:
    """What was counted and is not written yet. Safe to use from several threads."""

    def __init__(self, max_rows_a_source: int = MAX_ROWS_A_SOURCE) -> None:
        self._max = max_rows_a_source
        self._lock = threading.Lock()
        self._waiting: dict[_Key, Uses] = {}
        self._written_ms = 0
        self._hour = 0
        self._rows: dict[str, set[_Key]] = {}

    def due(self, now_ms: int) -> bool:
        """Whether it is time to write; whoever is told so does. A clock that was set back does not put it off."""
        with self._lock:
            if (hour := now_ms // HOUR_MS) != self._hour:
                self._hour, self._rows = hour, {}
            if 0 <= now_ms - self._written_ms < WRITE_INTERVAL_MS:
                return False
            first, self._written_ms = not self._written_ms, now_ms
            return not first

    def add(self, counted: Mapping[_Key, Uses]) -> None:
        """Take in what a committed transaction counted."""
        with self._lock:
            for wanted, uses in counted.items():
                key = self._bounded(wanted) if wanted[1].path else wanted
                if key[1].path == UNSAYABLE:
                    uses.path = UNSAYABLE
                known = self._waiting.setdefault(key, uses)
                if known is not uses:
                    known.count += uses.count
                    known.deny_id = uses.deny_id or known.deny_id

    def write(self, connection: Connection) -> None:
        """Write all that waits, in the order of keys."""
        with self._lock:
            waiting, self._waiting = self._waiting, {}
        rows = sorted((key[0], _hash(key), key, uses) for key, uses in waiting.items())
        upsert(connection, tables.history, [
            {
                **key[1]._asdict(), "path": uses.path, "hour": hour, "key_hash": name, "verdict": key[2].value,
                "count": min(uses.count, _MAX_COUNT), "deny_id": uses.deny_id, "direction": key[3],
            }
            for hour, name, key, uses in rows
        ], _SUMS)  # fmt: skip

    def _bounded(self, key: _Key) -> _Key:
        """The key, without its path where its source has as many rows in the hour as are kept."""
        hour, edge, verdict, direction = key
        rows = self._rows.setdefault(group_of(edge), set())
        if key not in rows and len(rows) >= self._max:
            return hour, edge._replace(path=UNSAYABLE), verdict, direction
        rows.add(key)
        return key


class HistoryRecording:
    """The flows of one transaction, by the hour in which each was last seen."""

    def __init__(self, connection: Connection, hours: Hours, shapes: Shapes) -> None:
        self._connection = connection
        self._hours = hours
        self._counted: dict[_Key, Uses] = {}
        self._shapes = shapes
        self._now_ms = 0

    def add(self, flows: Sequence[Flow], now_ms: int, *, from_sidecar: bool) -> None:
        """Count a batch's flows. A would-deny flow that was let through is told twice (`workflow.resolve`) and counts once."""
        self._now_ms = max(self._now_ms, now_ms)
        for flow, following in zip_longest(flows, flows[1:]):
            if following is not None and following.verdict is Verdict.WOULD_DENY and _is_same_use(flow, following):
                continue
            edge, _ = self._shapes.of(flow.edge)
            key = (flow.last_seen_ms // HOUR_MS, edge, flow.verdict, flow.direction if from_sidecar else "")
            uses = self._counted.get(key)
            if uses is None:
                uses = self._counted[key] = Uses(flow.edge.path)
            uses.count += min(flow.count, _MAX_COUNT)
            if flow.reason not in NEVER_PASSED_ON:  # no list refused it, whatever the name that it goes by
                uses.deny_id = flow.deny_id or uses.deny_id

    def finish(self) -> None:
        """Write what was counted before, when it is time."""
        if self._counted and self._hours.due(self._now_ms):
            self._hours.write(self._connection)

    def committed(self) -> None:
        """What was counted stands."""
        self._hours.add({key: uses for key, uses in self._counted.items() if uses.count})


def select_history(connection: Connection, since_hour: int, limit: int) -> list[HourlyFlow]:
    """Uses from an hour on, newest hour first."""
    table = tables.history.c
    kept = (table.verdict, table.hour, table.count, table.deny_id, table.direction)
    query = select(*(table[name] for name in EdgeKey._fields), *kept)
    query = query.where(table.hour >= since_hour).order_by(table.hour.desc(), table.key_hash).limit(limit)
    known: dict[EdgeKey, EdgeKey] = {}  # an edge has a row in most hours: it is held once
    return [
        HourlyFlow(known.setdefault(edge := EdgeKey(*row[:6]), edge), Verdict(row[6]), *row[7:])
        for row in connection.execute(query)
    ]


def _is_same_use(allowed: Flow, reported: Flow) -> bool:
    return allowed.verdict is Verdict.ALLOWED and allowed.edge == reported.edge and allowed.count == reported.count


def _hash(key: _Key) -> bytes:
    return hashlib.blake2b(msgspec.json.encode(key[1:]), digest_size=16).digest()
