"""Finds each violation its row: the one whose window it falls in, or a new one. Writes them at the end of the transaction.

A row's window counts from its first use, not by the clock, so that what belongs together is not cut by a full minute.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import msgspec
from sqlalchemy import Connection, select

from controlplane.flows.model import EdgeKey, Flow, Verdict, Violation
from controlplane.graph.evidence import HOUR_MS
from controlplane.store import tables
from controlplane.store.statements import add_rows, change_rows, lock_number, parts, set_number, upsert

_MAX_COUNT = 2**40
_SUMS = {"count": "add", "first_seen_ms": "least", "last_seen_ms": "greatest"}


@dataclass(slots=True)
class _Window:
    """A stored or new row that takes violations of one kind whose first use is near ``opened_ms``."""

    id: int
    opened_ms: int


@dataclass(slots=True)
class _Tally:
    """Uses of one row so far, and the flow that stands for them."""

    flow: Flow
    count: int
    first_seen_ms: int
    last_seen_ms: int

    def add(self, flow: Flow, count: int) -> None:
        """Count one more flow in."""
        self.count += count
        self.first_seen_ms = min(self.first_seen_ms, flow.first_seen_ms)
        self.last_seen_ms = max(self.last_seen_ms, flow.last_seen_ms)


class ViolationRecording:
    """The violations of one transaction."""

    def __init__(self, connection: Connection, window_ms: int) -> None:
        self._connection = connection
        self._window_ms = window_ms
        self._last_id: int | None = None
        self._opened: dict[int, tuple[bytes, int, _Tally]] = {}
        self._opened_windows: dict[bytes, list[_Window]] = {}
        self._continued: dict[int, _Tally] = {}
        self._hours: dict[tuple[Any, ...], int] = {}

    def add(self, flows: Sequence[Flow]) -> tuple[Violation, ...]:
        """Take a batch's refused flows in; the rows they went to, by id, each with what this batch alone added."""
        if not flows:
            return ()
        if self._last_id is None:
            # The lock makes windows and ids belong to one writer until its commit: no row twice, no id out of order.
            self._last_id = lock_number(self._connection, "violation")
        ordered = sorted(((_fingerprint(flow), flow) for flow in flows), key=lambda pair: pair[1].first_seen_ms)
        windows = self._windows(ordered)
        touched: dict[int, _Tally] = {}
        for fingerprint, flow in ordered:
            count = min(flow.count, _MAX_COUNT)
            near = [w for w in windows.get(fingerprint, ()) if abs(flow.first_seen_ms - w.opened_ms) < self._window_ms]
            if near:
                number = max(near, key=lambda window: window.opened_ms).id
            else:
                count = max(count, 1)
                self._last_id += 1
                number = self._last_id
                window = _Window(number, flow.first_seen_ms)
                windows.setdefault(fingerprint, []).append(window)
                self._opened_windows.setdefault(fingerprint, []).append(window)
                self._opened[number] = (fingerprint, flow.first_seen_ms, _tally(flow, 0))
            self._sums(number, flow).add(flow, count)
            if not flow.probe:
                edge = flow.edge
                hour = (flow.last_seen_ms // HOUR_MS, edge.source, edge.destination, edge.port, edge.protocol, str(flow.verdict))
                self._hours[hour] = self._hours.get(hour, 0) + count
            touched.setdefault(number, _tally(flow, 0)).add(flow, count)
        return tuple(_violation(number, tally) for number, tally in sorted(touched.items()))

    def finish(self) -> None:
        """Write what was added."""
        if self._last_id is None:
            return
        set_number(self._connection, "violation", self._last_id)
        added = [
            _columns(number, tally) | {"fingerprint": fingerprint, "opened_ms": opened_ms}
            for number, (fingerprint, opened_ms, tally) in self._opened.items()
        ]
        add_rows(self._connection, tables.violations, added)
        changed = [
            {
                "id": number,
                "count": tally.count,
                "first_seen_ms": tally.first_seen_ms,
                "last_seen_ms": tally.last_seen_ms,
            }
            for number, tally in sorted(self._continued.items())
        ]
        change_rows(self._connection, tables.violations, changed, _SUMS)
        table = tables.violation_hours
        names = [column.name for column in table.primary_key]
        hours = [dict(zip(names, hour, strict=True)) | {"count": count} for hour, count in sorted(self._hours.items())]
        upsert(self._connection, table, hours, {"count": "add"})
        table = tables.violation_totals
        names = [column.name for column in table.primary_key]
        totals: dict[tuple[Any, ...], int] = {}
        for hour in hours:
            key = tuple(hour[name] for name in names)
            totals[key] = totals.get(key, 0) + hour["count"]
        together = [dict(zip(names, key, strict=True)) | {"count": count} for key, count in sorted(totals.items())]
        upsert(self._connection, table, together, {"count": "add"})

    def _sums(self, number: int, flow: Flow) -> _Tally:
        opened = self._opened.get(number)
        return opened[2] if opened is not None else self._continued.setdefault(number, _tally(flow, 0))

    def _windows(self, ordered: Sequence[tuple[bytes, Flow]]) -> dict[bytes, list[_Window]]:
        """The rows, stored or opened in this transaction, that may take these flows, which come in the order of time."""
        earliest_ms = ordered[0][1].first_seen_ms - self._window_ms
        latest_ms = ordered[-1][1].first_seen_ms + self._window_ms
        kinds = {fingerprint for fingerprint, _ in ordered}
        found = {kind: list(self._opened_windows[kind]) for kind in kinds if kind in self._opened_windows}
        table = tables.violations.c
        for part in parts(kinds):
            query = select(table.fingerprint, table.id, table.opened_ms).where(
                table.fingerprint.in_(part), table.opened_ms.between(earliest_ms, latest_ms)
            )
            for fingerprint, number, opened_ms in self._connection.execute(query):
                found.setdefault(bytes(fingerprint), []).append(_Window(number, opened_ms))
        return found


def violation_of(row: Mapping[str, Any]) -> Violation:
    """A stored row as a value."""
    edge = EdgeKey(*(row[name] for name in EdgeKey._fields))
    rest = (
        "reporter", "direction", "count", "first_seen_ms", "last_seen_ms",
        "host", "server_name", "peer_address", "deny_id", "reason", "probe",
    )  # fmt: skip
    return Violation(row["id"], edge, Verdict(row["verdict"]), *(row[name] for name in rest))


def _fingerprint(flow: Flow) -> bytes:
    parts = (flow.edge, flow.verdict, flow.reporter, flow.direction, flow.deny_id, flow.host, flow.server_name, flow.peer_address)
    return hashlib.blake2b(msgspec.json.encode(parts), digest_size=16).digest()


def _tally(flow: Flow, count: int) -> _Tally:
    return _Tally(flow, count, flow.first_seen_ms, flow.last_seen_ms)


def _columns(number: int, tally: _Tally) -> dict[str, Any]:
    flow = tally.flow
    return {
        "id": number, **flow.edge._asdict(), "verdict": str(flow.verdict), "reporter": flow.reporter, "direction": flow.direction,
        "count": tally.count, "first_seen_ms": tally.first_seen_ms, "last_seen_ms": tally.last_seen_ms, "host": flow.host,
        "server_name": flow.server_name, "peer_address": flow.peer_address, "deny_id": flow.deny_id, "reason": flow.reason,
        "probe": flow.probe,
    }  # fmt: skip


def _violation(number: int, tally: _Tally) -> Violation:
    return violation_of(_columns(number, tally))
