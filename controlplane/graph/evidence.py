"""What is known of the use of one edge. Pure: flows come with their times, nothing is stored.

A flow costs a few integers, whatever was seen before. All but the count is the same when a flow comes again, and all of it is
the same in whatever order flows come. Hours and days are of UTC.
"""

from __future__ import annotations

from collections.abc import Sequence

from controlplane.graph.distinct import Distinct
from controlplane.graph.images import Images, ImageUse

HOUR_MS = 3_600_000
DAY_MS = 24 * HOUR_MS
HOURS_A_WEEK = 168
#: Days that an edge remembers to have been used on, counted back from the last.
MAX_DAYS = 91
_ALL_DAYS = (1 << MAX_DAYS) - 1
#: The first of January 1970 was a Thursday; weeks begin on Monday.
_FIRST_HOUR = 72


def hour_of_week(at_ms: int) -> int:
    """0 is Monday from 00:00 to 01:00 UTC."""
    return (at_ms // HOUR_MS + _FIRST_HOUR) % HOURS_A_WEEK


class Evidence:
    """The use of one edge.

    ``replicas`` and ``images`` are those of its source, where known; ``None`` when none is. ``values`` are the segments behind each
    parameter of its path, in order; empty where it has none.

    ``hours`` has a bit for each hour of the week in which it was used, ``days`` one for each day, the lowest for `last_day`.
    Of a flow that lasted, both ends count as use and what lies between does not: it may have been silent.
    """

    __slots__ = ("count", "days", "first_seen_ms", "hours", "images", "last_seen_ms", "replicas", "values")

    def __init__(self, count: int, first_seen_ms: int, last_seen_ms: int) -> None:
        self.count = count
        self.first_seen_ms = first_seen_ms
        self.last_seen_ms = last_seen_ms
        self.hours = 1 << hour_of_week(first_seen_ms) | 1 << hour_of_week(last_seen_ms)
        self.days = 1 | _shifted(1, last_seen_ms // DAY_MS - first_seen_ms // DAY_MS)
        self.replicas: Distinct | None = None
        self.images: Images | None = None
        self.values: tuple[Distinct, ...] = ()

    @property
    def last_day(self) -> int:
        """The day of the last use, in days since 1970."""
        return self.last_seen_ms // DAY_MS

    @property
    def days_used(self) -> int:
        """On how many of the last `MAX_DAYS` days it was used."""
        return self.days.bit_count()

    def see(self, count: int, first_seen_ms: int, last_seen_ms: int) -> None:
        """Add a use of so many requests or connections."""
        self.count += count
        self.hours |= 1 << hour_of_week(first_seen_ms) | 1 << hour_of_week(last_seen_ms)
        last_day, until = self.last_seen_ms // DAY_MS, last_seen_ms // DAY_MS
        if until != last_day or first_seen_ms // DAY_MS != last_day:
            self._see_days(first_seen_ms // DAY_MS, until)
        self.first_seen_ms = min(self.first_seen_ms, first_seen_ms)
        self.last_seen_ms = max(self.last_seen_ms, last_seen_ms)

    def see_days(self, last_day: int, days: int) -> None:
        """Add the days of other uses: a bit for each, the lowest for ``last_day``; none is after the last use."""
        self.days |= _shifted(days, max(self.last_day - last_day, 0))

    def _see_days(self, *days: int) -> None:
        """Add single days; called before `last_seen_ms` changes."""
        last = max(self.last_day, *days)
        self.days = _shifted(self.days, last - self.last_day)
        for day in days:
            self.days |= _shifted(1, last - day)

    def came_from(self, replica: str) -> None:
        """Note a replica of the source."""
        if self.replicas is None:
            self.replicas = Distinct()
        self.replicas.add(replica)

    def ran(self, image: str, first_seen_ms: int, last_seen_ms: int) -> None:
        """Note the digest of the image that the source ran in a use."""
        if self.images is None:
            self.images = Images()
        self.images.see(ImageUse(image, first_seen_ms, last_seen_ms // DAY_MS))

    def asked_for(self, values: Sequence[str]) -> None:
        """Note the segments behind the parameters of a path; always as many."""
        if not self.values:
            self.values = tuple(Distinct() for _ in values)
        for seen, value in zip(self.values, values, strict=True):
            seen.add(value)

    def merge(self, other: Evidence) -> None:
        """Add all that another knows of the same edge from other flows."""
        self.merge_use(other)
        if other.values:
            own = self.values or tuple(Distinct() for _ in other.values)
            for seen, more in zip(own, other.values, strict=True):
                seen.merge(more)
            self.values = own

    def merge_use(self, other: Evidence) -> None:
        """Add all but the values, which belong to one path: for what is known of several paths together."""
        self.count += other.count
        self.hours |= other.hours
        last = max(self.last_day, other.last_day)
        self.days = _shifted(self.days, last - self.last_day) | _shifted(other.days, last - other.last_day)
        self.first_seen_ms = min(self.first_seen_ms, other.first_seen_ms)
        self.last_seen_ms = max(self.last_seen_ms, other.last_seen_ms)
        self.replicas = _joined(self.replicas, other.replicas)
        if other.images is not None:
            images = Images() if self.images is None else self.images
            images.merge(other.images)
            self.images = images

    def holds(self, other: Evidence) -> bool:
        """Whether merging another would change nothing but the count and the times of the first and the last use.

        Such an other needs no place of its own in a store that sums counts and times up: it is most of them.
        """
        later = self.last_day - other.last_day
        return (
            later >= 0
            and not other.hours & ~self.hours
            and not _shifted(other.days, later) & ~self.days
            and _holds(self.replicas, other.replicas)
            and (other.images is None or (self.images is not None and self.images.holds(other.images)))
            and (not other.values or (bool(self.values) and all(map(_holds, self.values, other.values))))
        )

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Evidence) and all(getattr(self, name) == getattr(other, name) for name in self.__slots__)

    __hash__ = None  # type: ignore[assignment]  # it changes


def _shifted(days: int, by: int) -> int:
    """Bits that belong to a later last day, however much later."""
    return days << min(by, MAX_DAYS) & _ALL_DAYS


def _holds(mine: Distinct | None, other: Distinct | None) -> bool:
    return other is None or (mine is not None and mine.holds(other))


def _joined(mine: Distinct | None, other: Distinct | None) -> Distinct | None:
    if mine is None or other is None:
        return mine or other
    joined = Distinct()
    joined.merge(mine)
    joined.merge(other)
    return joined
