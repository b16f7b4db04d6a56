"""Remembers, within bounds, what was told already, because logs tell the same call from both ends and at several points."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Hashable

#: Calls that are remembered; what both ends tell is seldom further apart.
MAX_REMEMBERED = 100_000


class Pairs:
    """Finds the other side's record of a call: of each pair one counts, whichever comes first."""

    def __init__(self, at_most: int = MAX_REMEMBERED) -> None:
        self._at_most = at_most
        self._open: OrderedDict[Hashable, int] = OrderedDict()

    def is_second(self, call: Hashable, *, inbound: bool) -> bool:
        """Whether this is the record that the other side's is still waiting for."""
        sides = self._open.pop(call, 0)
        second = sides < 0 if inbound else sides > 0
        sides += 1 if inbound else -1
        if sides:
            self._open[call] = sides
            if len(self._open) > self._at_most:
                self._open.popitem(last=False)
        return second


class Once:
    """Finds what was seen before."""

    def __init__(self, at_most: int = MAX_REMEMBERED) -> None:
        self._at_most = at_most
        self._seen: OrderedDict[Hashable, None] = OrderedDict()

    def is_again(self, thing: Hashable) -> bool:
        """Whether it was seen already."""
        if thing in self._seen:
            self._seen.move_to_end(thing)
            return True
        self._seen[thing] = None
        if len(self._seen) > self._at_most:
            self._seen.popitem(last=False)
        return False
