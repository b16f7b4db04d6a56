"""When a service was watched: the hours in which its sidecars reported, what they lost, and starts that were seen. Pure.

The same in whatever order reports come. Hours are of UTC.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from controlplane.graph.distinct import Distinct
from controlplane.graph.evidence import DAY_MS, HOUR_MS, MAX_DAYS

MAX_HOURS = MAX_DAYS * 24
#: A day counts as watched with so many hours of it.
FULL_DAY_HOURS = 20
#: Sums stop here: what sidecars claim may not grow past 64 bits.
MAX_LOST = 2**62
_ALL_HOURS = (1 << MAX_HOURS) - 1


class Kept(NamedTuple):
    """What a watch is made of. ``heard`` and ``lossy`` have a bit for each hour, the lowest for ``last_hour`` (since 1970)."""

    first_ms: int | None
    last_ms: int | None
    last_start_ms: int | None
    lost: int
    last_hour: int
    heard: int
    lossy: int
    starts: Distinct


class Watch:
    """What is known of the watching of one service, or of all. Nothing was watched until the first `hear`."""

    __slots__ = ("_heard", "_last_hour", "_lossy", "_starts", "first_ms", "last_ms", "last_start_ms", "lost")

    def __init__(self) -> None:
        self.first_ms: int | None = None
        self.last_ms: int | None = None
        self.last_start_ms: int | None = None
        self.lost = 0
        self._last_hour = 0
        self._heard = 0  # bits of hours, the lowest for the last one heard
        self._lossy = 0
        self._starts = Distinct()

    def hear(self, at_ms: int, lost: int = 0) -> None:
        """A sidecar reported, with so many log lines missing before; an empty report counts."""
        hour = at_ms // HOUR_MS
        if self.first_ms is None or self.last_ms is None:
            self.first_ms = self.last_ms = at_ms
            self._last_hour = hour
        self._advance(hour)
        bit = _shifted(1, self._last_hour - hour)
        self._heard |= bit
        self.first_ms, self.last_ms = min(self.first_ms, at_ms), max(self.last_ms, at_ms)
        if lost:
            self.lost = min(self.lost + lost, MAX_LOST)
            self._lossy |= bit

    def start(self, replica: str, at_ms: int) -> None:
        """A replica started, or started again, under a name of its own."""
        self._starts.add(replica)
        self.last_start_ms = at_ms if self.last_start_ms is None else max(self.last_start_ms, at_ms)

    def merge(self, other: Watch) -> None:
        """Watched where either was."""
        if other.first_ms is not None and other.last_ms is not None:
            if self.first_ms is None or self.last_ms is None:
                self.first_ms, self.last_ms, self._last_hour = other.first_ms, other.last_ms, other._last_hour
            self._advance(other._last_hour)
            by = self._last_hour - other._last_hour
            self._heard |= _shifted(other._heard, by)
            self._lossy |= _shifted(other._lossy, by)
            self.first_ms, self.last_ms = min(self.first_ms, other.first_ms), max(self.last_ms, other.last_ms)
        self.lost = min(self.lost + other.lost, MAX_LOST)
        self._starts.merge(other._starts)
        if other.last_start_ms is not None:
            self.last_start_ms = max(other.last_start_ms, self.last_start_ms or 0)

    def holds(self, other: Watch) -> bool:
        """Whether merging another would say nothing new: an hour that is known, without a loss or a start."""
        if other.lost or not self._starts.holds(other._starts) or (other.last_start_ms or 0) > (self.last_start_ms or 0):
            return False
        later = self._last_hour - other._last_hour
        return other.first_ms is None or (later >= 0 and not _shifted(other._heard, later) & ~self._heard)

    @property
    def kept(self) -> Kept:
        """All that it is made of."""
        times = (self.first_ms, self.last_ms, self.last_start_ms)
        return Kept(*times, self.lost, self._last_hour, self._heard, self._lossy, self._starts)

    @classmethod
    def of_kept(cls, kept: Kept) -> Watch:
        """Made again of what `kept` gave."""
        made = cls()
        made.first_ms, made.last_ms, made.last_start_ms, made.lost = kept.first_ms, kept.last_ms, kept.last_start_ms, kept.lost
        made._last_hour, made._heard, made._lossy, made._starts = kept.last_hour, kept.heard, kept.lossy, kept.starts
        return made

    def _advance(self, hour: int) -> None:
        if hour > self._last_hour:
            by = hour - self._last_hour
            self._heard, self._lossy, self._last_hour = _shifted(self._heard, by), _shifted(self._lossy, by), hour

    @property
    def hours(self) -> int:
        """How many hours were watched, of the last `MAX_DAYS` days."""
        return self._heard.bit_count()

    @property
    def starts(self) -> int:
        """How many different replicas were seen to start."""
        return self._starts.count

    @property
    def saw_restart(self) -> bool:
        """Whether a replica started when the service had been watched for an hour, so that start-up traffic was seen."""
        return self.first_ms is not None and self.last_start_ms is not None and self.last_start_ms - self.first_ms >= HOUR_MS

    @property
    def gap_hours(self) -> int:
        """Hours between the first and the last (of the last `MAX_DAYS` days) in which nothing was heard."""
        return self._heard.bit_length() - self._heard.bit_count()

    @property
    def lossy_hours(self) -> int:
        """Hours in which log lines were lost."""
        return self._lossy.bit_count()

    def lost_since(self, at_ms: int) -> bool:
        """Whether log lines were lost in the hour of a time, or later."""
        back = self._last_hour - at_ms // HOUR_MS
        return back >= 0 and bool(self._lossy & ((1 << min(back, MAX_HOURS) + 1) - 1))

    def watched_hours(self) -> Iterator[int]:
        """Hours since 1970, latest first."""
        return (self._last_hour - back for back in range(self._heard.bit_length()) if self._heard >> back & 1)

    def full_days(self) -> tuple[int, ...]:
        """Days since 1970 of which `FULL_DAY_HOURS` or more were watched, in order."""
        found: dict[int, int] = {}
        for hour in self.watched_hours():
            day = hour * HOUR_MS // DAY_MS
            found[day] = found.get(day, 0) + 1
        return tuple(sorted(day for day, hours in found.items() if hours >= FULL_DAY_HOURS))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Watch) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # it changes


def _shifted(hours: int, by: int) -> int:
    return hours << min(by, MAX_HOURS) & _ALL_HOURS
