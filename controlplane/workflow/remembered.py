"""One answer, kept with all that it was made of. Holds one at a time, and asks nobody whether it still holds: it compares."""

from __future__ import annotations

from collections.abc import Callable
from typing import Generic, TypeVar

T = TypeVar("T")


class Remembered(Generic[T]):
    """The last answer of a pure function. Safe to use from several threads: at worst two of them make the same."""

    def __init__(self) -> None:
        self._kept: tuple[tuple[object, ...], T] | None = None

    def answer(self, of: tuple[object, ...], make: Callable[[], T]) -> T:
        """The answer of the last time if it was made of equal values; else one that ``make`` makes of them, and of nothing else.

        Tuples compare their items as objects first, so what did not change costs no look inside.
        """
        kept = self._kept
        if kept is None or kept[0] != of:
            kept = self._kept = of, make()
        return kept[1]
