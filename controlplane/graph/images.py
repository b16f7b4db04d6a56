"""Which images of its source used an edge, and since when. Pure and bounded: those that were used last are kept.

The same in whatever order uses come, but for the first use of one that was dropped and came back.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

#: Images per edge: more than run at once, and some that did before.
MAX_IMAGES = 8


class ImageUse(NamedTuple):
    """An image by its digest, when it first used the edge (Unix milliseconds), and the last day on which it did (since 1970)."""

    digest: str
    first_seen_ms: int
    last_day: int


def joined(uses: Iterable[ImageUse]) -> tuple[ImageUse, ...]:
    """One use of each image, by the first of all."""
    found: dict[str, ImageUse] = {}
    for use in uses:
        known = found.get(use.digest, use)
        found[use.digest] = ImageUse(use.digest, min(known.first_seen_ms, use.first_seen_ms), max(known.last_day, use.last_day))
    return tuple(sorted(found.values(), key=lambda use: (use.first_seen_ms, use.digest)))


class Images:
    """The images that were seen."""

    __slots__ = ("_uses",)

    def __init__(self, uses: Iterable[ImageUse] = ()) -> None:
        self._uses: dict[str, ImageUse] = {}
        for use in uses:
            self.see(use)

    def see(self, use: ImageUse) -> None:
        """See a use, perhaps again."""
        known = self._uses.get(use.digest)
        (self._uses[use.digest],) = (use,) if known is None else joined((known, use))
        if len(self._uses) > MAX_IMAGES:
            del self._uses[min(self._uses.values(), key=_age).digest]

    def merge(self, other: Images) -> None:
        """See all that another saw."""
        for use in other._uses.values():
            self.see(use)

    def holds(self, other: Images) -> bool:
        """Whether seeing all that another saw would change nothing."""
        return all(map(self._holds, other._uses.values()))

    def _holds(self, use: ImageUse) -> bool:
        known = self._uses.get(use.digest)
        if known is None:
            return len(self._uses) == MAX_IMAGES and _age(use) < min(map(_age, self._uses.values()))
        return known.first_seen_ms <= use.first_seen_ms and known.last_day >= use.last_day

    @property
    def uses(self) -> tuple[ImageUse, ...]:
        """Those that are kept, by their first use."""
        return joined(self._uses.values())

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Images) and self._uses == other._uses

    __hash__ = None  # type: ignore[assignment]  # it changes


def _age(use: ImageUse) -> tuple[int, str]:
    return use.last_day, use.digest
