"""Finds and counts violations among many millions, in bounded time: whoever asks for what is rare is told how far was looked.

Rows are looked through newest first by one index, and hours in which the hourly sums have nothing are passed over. After
`EXAMINED` rows a page ends, with a place to go on from. Counts are of rows up to `COUNTED`, beyond that of the hourly sums.
Rows of one end or deny ID lie apart on disk, those of a time together: of the first, fewer are looked through.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, Subquery, Table, func, select

from controlplane.flows.model import Verdict, Violation
from controlplane.graph.evidence import HOUR_MS
from controlplane.store import tables
from controlplane.store.conditions import HOURLY, MAX_INTEGER, driving, holds, of_a_kind, terms_of, within
from controlplane.store.stored import ViolationCounts, ViolationFilter, ViolationPage
from controlplane.store.violations import violation_of
from controlplane.violations.histogram import Point
from controlplane.violations.query import Field, Term

#: Rows that one page may look through.
EXAMINED = 15_000
#: Spans of hours that one page may look into.
MAX_SPANS = 100
#: Rows that are counted one by one.
COUNTED = 5_000
#: Rows of the hourly sums that are summed.
SUMMED = 50_000
#: How many times as long it takes to read a row that lies by itself.
APART = 5
_ENDS = frozenset({Field.SOURCE, Field.DESTINATION})
#: From and before which time, in Unix milliseconds.
_Span = tuple[int, int]
_ALWAYS: _Span = (0, MAX_INTEGER)


def find_page(connection: Connection, wanted: ViolationFilter, limit: int) -> ViolationPage:
    """Matching violations, newest first, and where to go on."""
    terms = terms_of(wanted)
    spans, resume_ms = _spans(connection, wanted, terms)
    found: list[Violation] = []
    left = _budget(EXAMINED, terms)
    for span in spans:
        part = _Part(wanted, terms, span, left)
        rows = connection.execute(part.matching().limit(limit - len(found) + 1)).all()
        found += [violation_of(row._asdict()) for row in rows]
        if len(found) > limit:
            shown = tuple(found[:limit])
            return ViolationPage(shown, (shown[-1].last_seen_ms, shown[-1].id) if shown else None)
        last = part.last(connection)
        if last is not None:
            return ViolationPage(tuple(found), last, was_cut=True)
        left -= part.size(connection)
    return ViolationPage(tuple(found), None if resume_ms is None else (resume_ms, 0), was_cut=resume_ms is not None)


def count(connection: Connection, wanted: ViolationFilter) -> ViolationCounts:
    """How often matching violations were seen, by time."""
    terms = terms_of(wanted)
    part = _Part(wanted, terms, _ALWAYS, _budget(COUNTED, terms))
    is_all = part.last(connection) is None
    in_sums = all(term.field in HOURLY for term in terms) and not (wanted.probes or wanted.after_id or wanted.before)
    if is_all or not in_sums:
        rows = connection.execute(part.matching(_COUNTS))
        return ViolationCounts(tuple(Point(row[0], Verdict(row[1]), row[2]) for row in rows), 1, is_complete=is_all)
    newest = _newest_hours(wanted, terms)
    sums = select(newest.c.hour, newest.c.verdict, func.sum(newest.c["count"])).where(*holds(newest, terms))
    found = connection.execute(sums.group_by(newest.c.hour, newest.c.verdict))
    summed = tuple(Point(hour * HOUR_MS, Verdict(verdict), int(total)) for hour, verdict, total in found)
    return ViolationCounts(summed, HOUR_MS, is_complete=_last_summed(connection, wanted, terms) is None)


_COUNTS = ("last_seen_ms", "verdict", "count")


def _budget(rows: int, terms: Sequence[Term]) -> int:
    return rows if driving(terms) is None else max(1, rows // APART)


@dataclass(frozen=True, slots=True)
class _Part:
    """The newest ``budget`` rows of a span that the driving term leaves, and those among them that match all terms."""

    wanted: ViolationFilter
    terms: Sequence[Term]
    span: _Span
    budget: int

    def matching(self, columns: Sequence[str] = ()) -> Select[Any]:
        """Those that match, newest first: the order is that of the rows inside, so that a database stops at the outer limit."""
        inner = self._newest(*tables.violations.c).limit(self.budget).subquery()
        rest = [term for term in self.terms if term is not driving(self.terms)]
        query = select(*(inner.c[name] for name in columns)) if columns else select(inner)
        return query.where(*of_a_kind(inner, self.wanted), *holds(inner, rest))

    def last(self, connection: Connection) -> tuple[int, int] | None:
        """The time and ID of the last row within the budget; ``None`` when there are fewer rows."""
        table = tables.violations.c
        query = self._newest(table.last_seen_ms, table.id).limit(1).offset(max(0, self.budget - 1))
        row = connection.execute(query).first()
        return None if row is None else (row[0], row[1])

    def size(self, connection: Connection) -> int:
        """How many rows there are within the budget."""
        inner = self._newest(tables.violations.c.last_seen_ms).limit(self.budget).subquery()
        return int(connection.execute(select(func.count()).select_from(inner)).scalar_one())

    def _newest(self, *columns: Any) -> Select[Any]:
        table = tables.violations
        driver = driving(self.terms)
        conditions: list[ColumnElement[bool]] = [*within(table, self.wanted), *holds(table, [driver] if driver else [])]
        if self.span != _ALWAYS:
            conditions += [table.c.last_seen_ms >= self.span[0], table.c.last_seen_ms < self.span[1]]
        return select(*columns).where(*conditions).order_by(table.c.last_seen_ms.desc(), table.c.id.desc())


def _spans(connection: Connection, wanted: ViolationFilter, terms: Sequence[Term]) -> tuple[list[_Span], int | None]:
    """Where matching rows may be, newest first, and the time before which nothing was looked for; ``None`` when nothing is left."""
    telling = [term for term in terms if term.field in HOURLY]
    if wanted.probes or all(term is driving(terms) for term in telling):
        return [_ALWAYS], None
    newest = _newest_hours(wanted, telling)
    query = select(newest.c.hour).where(*holds(newest, telling)).group_by(newest.c.hour).order_by(newest.c.hour.desc())
    hours = [int(hour) for (hour,) in connection.execute(query)]
    last = _last_summed(connection, wanted, telling)
    if last is not None and last not in hours:
        hours.append(last)  # not all of its sums were looked at, so its rows are
    spans: list[_Span] = []
    for hour in hours:
        begin_ms, end_ms = hour * HOUR_MS, (hour + 1) * HOUR_MS
        if spans and spans[-1][0] == end_ms:
            spans[-1] = (begin_ms, spans[-1][1])
        elif len(spans) == MAX_SPANS:
            return spans, end_ms
        else:
            spans.append((begin_ms, end_ms))
    return spans, None if last is None else last * HOUR_MS


def _newest_hours(wanted: ViolationFilter, terms: Sequence[Term]) -> Subquery:
    """The newest `SUMMED` rows of the hourly sums that know what the terms ask for."""
    table = _sums_for(terms)
    return _hours(table, wanted, terms, *table.c).limit(SUMMED).subquery()


def _last_summed(connection: Connection, wanted: ViolationFilter, terms: Sequence[Term]) -> int | None:
    """The hour in which the newest sums end; ``None`` when there are no others."""
    table = _sums_for(terms)
    hour = connection.execute(_hours(table, wanted, terms, table.c.hour).limit(1).offset(SUMMED)).scalar()
    return None if hour is None else int(hour)


def _sums_for(terms: Sequence[Term]) -> Table:
    return tables.violation_totals if all(term.field not in _ENDS for term in terms) else tables.violation_hours


def _hours(table: Table, wanted: ViolationFilter, terms: Sequence[Term], *columns: Any) -> Select[Any]:
    driver = driving(term for term in terms if term.field in HOURLY)
    query = select(*columns).where(*holds(table, [driver] if driver else [])).order_by(table.c.hour.desc())
    if wanted.since_ms:
        query = query.where(table.c.hour >= min(wanted.since_ms, MAX_INTEGER) // HOUR_MS)
    if wanted.until_ms:
        query = query.where(table.c.hour <= min(wanted.until_ms, MAX_INTEGER) // HOUR_MS)
    if wanted.before is not None:
        last_ms = min(wanted.before[0], MAX_INTEGER) - (not wanted.before[1])  # no ID is 0: nothing of that moment is left
        query = query.where(table.c.hour <= last_ms // HOUR_MS)
    return query
