"""Whether enough was seen of a service to enforce, and what is missing. Pure; decides nothing: `graph.gate` does.

Counted in whole days of UTC, not in requests: calls come in bursts, and a job that runs once a night calls a thousand times.
A denial here is an edge that would be denied on a day, however often it was tried on it.
"""

from __future__ import annotations

import datetime
import enum
import heapq
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane.flows.model import EdgeKey
from controlplane.graph.evidence import HOUR_MS, HOURS_A_WEEK, MAX_DAYS, Evidence, hour_of_week
from controlplane.graph.ledger import group_of
from controlplane.graph.unseen import Interval, completeness, incidence, new_kinds, unseen_kinds
from controlplane.graph.watch import Watch

#: Fewer watched days than this say nothing about the next one.
MIN_DAYS = 5
MAX_EXAMPLES = 10
WEEKDAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday")
_SAME_WEEKDAY = sum(1 << back for back in range(0, MAX_DAYS, 7))
_FIRST_DAY = datetime.date(1970, 1, 1).toordinal()


class Lack(enum.StrEnum):
    """What may be missing."""

    DAYS = "days"  # too few whole days for an estimate
    WEEKDAYS = "weekdays"  # a weekly job may run on one that was not watched
    HOURS = "hours"  # hours of the week not watched
    MONTH = "month"  # no turn of a month was watched
    GAPS = "gaps"  # nothing was heard for hours in between
    LOST = "lost"  # sidecars lost log lines
    RESTART = "restart"  # no replica was seen to start
    DENIALS = "denials"  # too many are to be expected
    EDGES = "edges"  # more edges than are kept, or none


_LACKS = {
    Lack.DAYS: "too few whole days watched",
    Lack.WEEKDAYS: "weekdays not watched",
    Lack.HOURS: "hours of the week not watched",
    Lack.MONTH: "no turn of a month watched",
    Lack.GAPS: "hours without a report",
    Lack.LOST: "log lines lost",
    Lack.RESTART: "no start of a replica seen",
    Lack.DENIALS: "too many denials to expect",
    Lack.EDGES: "no edge seen, or more than are kept",
}


@dataclass(frozen=True, slots=True)
class Missing:
    """One thing that is missing, in words for people."""

    lack: Lack
    text: str


@dataclass(frozen=True, slots=True)
class Readiness:
    """What was seen of a service (or of all: ``subject`` empty), and what may still come.

    ``denials_a_day`` and ``unseen_edges_at_least`` are ``None`` where too little was watched to say. ``completeness`` is the
    share of use, counted in edges a day, that seen edges hold. ``seen_once`` are edges used on one day only, latest first, and
    ``weekly`` those used on one weekday only; of each only the first few.
    """

    subject: str
    edges: int
    full_days: int
    weekdays: frozenset[int]
    hours_of_week: int
    gap_hours: int
    denials_a_day: Interval | None
    unseen_edges_at_least: int | None
    completeness: float | None
    seen_once: tuple[EdgeKey, ...]
    weekly: tuple[EdgeKey, ...]
    missing: tuple[Missing, ...]

    @property
    def summary(self) -> str:
        """In a line."""
        expected = self.denials_a_day
        if expected is None:
            return f"too early to say: {_count(self.full_days, 'whole day')} watched, {MIN_DAYS} are needed"
        low, high = math.floor(expected.low), math.ceil(expected.high)
        span = f"{low}" if low == high else f"{low}-{high}"
        return f"enforce now and expect {span} denial{'' if span == '1' else 's'} a day"


def assess(subject: str, edges: Iterable[tuple[EdgeKey, Evidence]], watch: Watch, *, is_overflowing: bool = False) -> Readiness:
    """The readiness of a service from the evidence of the edges to it.

    Args:
        subject: a service's name, or empty for the whole graph.
        edges: those to the service, or all.
        watch: when the service's sidecars were heard, or all watches merged.
        is_overflowing: whether edges were dropped because a source has too many.
    """
    days = watch.full_days()
    known = list(edges)
    last = days[-1] if days else 0
    watched = sum(1 << (last - day) for day in days)
    used = [(edge, _on(evidence, last, watched)) for edge, evidence in known]
    seen = incidence((bits for _, bits in used), len(days))
    enough = len(days) >= MIN_DAYS
    weekdays = frozenset(weekday(day) for day in days)
    hours = {hour_of_week(hour * HOUR_MS) for hour in watch.watched_hours()}
    missing = [*_missing_time(days, weekdays, len(hours)), *_missing_of(watch)]
    if is_overflowing or not known:
        text = "a source has more edges than are kept: see which is marked" if is_overflowing else "no edge was seen"
        missing.append(Missing(Lack.EDGES, text))
    return Readiness(
        subject, len(known), len(days), weekdays, len(hours), watch.gap_hours,
        new_kinds(seen, 1) if enough else None,
        math.floor(unseen_kinds(seen).low) if enough else None,
        completeness(seen) if enough else None,
        tuple(edge for _, edge in heapq.nsmallest(MAX_EXAMPLES, ((bits, edge) for edge, bits in used if bits.bit_count() == 1))),
        tuple(heapq.nsmallest(MAX_EXAMPLES, (edge for edge, evidence in known if is_weekly(evidence)))),
        tuple(missing),
    )  # fmt: skip


def assess_all(
    edges: Mapping[EdgeKey, Evidence], watches: Mapping[str, Watch], overflowing: frozenset[str] = frozenset()
) -> tuple[Readiness, tuple[Readiness, ...]]:
    """The readiness of the whole graph, and that of each service that was watched or called, by name.

    What the whole graph misses is what its services miss, counted. A destination without a sidecar is watched by its callers'.
    """
    by_service: dict[str, list[tuple[EdgeKey, Evidence]]] = {name: [] for name in watches}
    all_watch = Watch()
    for edge, evidence in edges.items():
        by_service.setdefault(edge.destination, []).append((edge, evidence))
    for watch in watches.values():
        all_watch.merge(watch)
    services = tuple(
        assess(name, of, _watch(name, of, watches), is_overflowing=any(group_of(edge) in overflowing for edge, _ in of))
        for name, of in sorted(by_service.items())
    )
    whole = assess("", edges.items(), all_watch, is_overflowing=bool(overflowing))
    return replace(whole, missing=tuple(_counted(services))), services


def _watch(name: str, edges: Iterable[tuple[EdgeKey, Evidence]], watches: Mapping[str, Watch]) -> Watch:
    own = watches.get(name)
    if own is not None:
        return own
    merged = Watch()
    for source in {edge.source for edge, _ in edges} & watches.keys():
        merged.merge(watches[source])
    return merged


def _counted(services: Sequence[Readiness]) -> Iterable[Missing]:
    for lack in Lack:
        lacking = [service.subject for service in services if any(missing.lack is lack for missing in service.missing)]
        if lacking:
            names = ", ".join(lacking[:MAX_EXAMPLES]) + (", ..." if len(lacking) > MAX_EXAMPLES else "")
            yield Missing(lack, f"{_LACKS[lack]}: {len(lacking)} of {len(services)} services ({names})")


def weekday(day: int) -> int:
    """The weekday of a day since 1970; 0 is Monday."""
    return (day + 3) % 7


def is_weekly(evidence: Evidence) -> bool:
    """Whether an edge was used on two days or more, all of them the same weekday."""
    return evidence.days_used >= 2 and not evidence.days & ~_SAME_WEEKDAY


def _on(evidence: Evidence, last: int, watched: int) -> int:
    """On which watched days an edge was used; bits as in `Evidence.days`, the lowest for the day ``last``."""
    late = last - evidence.last_day
    return (evidence.days << late if late >= 0 else evidence.days >> -late) & watched


def _missing_time(days: Sequence[int], weekdays: frozenset[int], hours: int) -> Iterable[Missing]:
    if len(days) < MIN_DAYS:
        yield Missing(Lack.DAYS, f"{_count(len(days), 'whole day')} watched, {MIN_DAYS} are needed for an estimate")
    if len(weekdays) < 7:
        names = ", ".join(name for number, name in enumerate(WEEKDAYS) if number not in weekdays)
        yield Missing(Lack.WEEKDAYS, f"not watched yet: {names}; a weekly job may run then")
    if hours < HOURS_A_WEEK:
        yield Missing(Lack.HOURS, f"{HOURS_A_WEEK - hours} of the {HOURS_A_WEEK} hours of a week not watched")
    if not _has_turn_of_month(days):
        yield Missing(Lack.MONTH, "no turn of a month watched (its last day and the next one's first); a monthly job may run then")


def _has_turn_of_month(days: Sequence[int]) -> bool:
    watched = set(days)
    return any(day - 1 in watched for day in days if datetime.date.fromordinal(_FIRST_DAY + day).day == 1)


def _missing_of(watch: Watch) -> Iterable[Missing]:
    if watch.gap_hours:
        yield Missing(Lack.GAPS, f"nothing heard in {_count(watch.gap_hours, 'hour')} in between")
    if watch.lost:
        yield Missing(Lack.LOST, f"{_count(watch.lost, 'log line')} lost, in {_count(watch.lossy_hours, 'hour')}")
    if not watch.saw_restart:
        yield Missing(Lack.RESTART, "no replica was seen to start; what it calls only then is not known")


def _count(number: int, noun: str) -> str:
    return f"{number:,} {noun}{'' if number == 1 else 's'}"
