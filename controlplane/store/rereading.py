"""Values made of rows, each kept with its row: what is stored as it was the last time is not made again. Reads nothing itself."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import Any, Generic, TypeVar

#: More rows than this are made anew each time: it would take gigabytes to remember them.
MAX_KEPT = 200_000

T = TypeVar("T")
Columns = tuple[Any, ...]


class Rereading(Generic[T]):
    """The values of one query. Nobody changes them, as whoever asks next may get the same. Safe to use from several threads."""

    def __init__(self, make: Callable[[Columns], T], key_columns: int = 1, max_kept: int = MAX_KEPT) -> None:
        """``make`` depends on the row alone; its first ``key_columns`` tell it from the others."""
        self._make = make
        self._key_columns = key_columns
        self._max_kept = max_kept
        self._kept: Mapping[Columns, tuple[Columns, T]] = {}

    def read(self, rows: Iterable[Iterable[Any]]) -> list[T]:
        """The value of each row, in their order."""
        kept, seen = self._kept, dict[Columns, tuple[Columns, T]]()
        for row in map(tuple, rows):
            key = row[: self._key_columns]
            known = kept.get(key)
            seen[key] = known if known is not None and known[0] == row else (row, self._make(row))
        self._kept = seen if len(seen) <= self._max_kept else {}
        return [value for _, value in seen.values()]
