"""How many different texts there were, in bounded memory and whatever their order. Never keeps more than a few of them.

Bottom-k sketch: of all texts, those with the smallest hashes are kept. Below k the count is exact; above, the k-th hash says
how dense they lie (Beyer et al., "On synopses for distinct-value estimation under multiset operations", SIGMOD 2007). Adding
twice changes nothing, and sketches of two halves merge to the sketch of the whole.
"""

from __future__ import annotations

from array import array
from bisect import bisect_left
from collections.abc import Iterable
from hashlib import blake2b

#: Hashes per sketch; the standard error of an estimate is 1 / sqrt(KEPT - 2), a quarter.
KEPT = 16
#: Texts per sketch: those with the smallest hashes. Each is cut to so many characters; its hash is of the whole.
MAX_EXAMPLES = 5
MAX_TEXT = 80
_SPACE = 2**64


def text_hash(text: str) -> int:
    """64 bits, the same in every process."""
    return int.from_bytes(blake2b(text.encode("utf-8", "surrogatepass"), digest_size=8).digest(), "big")


class Distinct:
    """Different texts seen."""

    __slots__ = ("_hashes", "_texts")

    def __init__(self, texts: Iterable[str] = ()) -> None:
        self._hashes = array("Q")
        self._texts: list[str] = []
        for text in texts:
            self.add(text)

    def add(self, text: str) -> None:
        """See a text, perhaps again."""
        if len(text) < MAX_TEXT and text in self._texts:
            return
        hashed = text_hash(text)
        place = self._place(hashed)
        if place is not None:
            self._insert(place, hashed, text[:MAX_TEXT] if place < MAX_EXAMPLES else None)

    def merge(self, other: Distinct) -> None:
        """See all that another saw."""
        if not self._hashes:
            self._hashes, self._texts = other._hashes[:], other._texts[:]
            return
        for index, hashed in enumerate(other._hashes):
            place = self._place(hashed)
            if place is not None:
                self._insert(place, hashed, other._texts[index] if index < MAX_EXAMPLES else None)

    def holds(self, other: Distinct) -> bool:
        """Whether seeing all that another saw would change nothing."""
        return all(self._place(hashed) is None for hashed in other._hashes)

    @property
    def kept(self) -> tuple[list[int], list[str]]:
        """All that it is made of: hashes in order, and the texts behind the first of them."""
        return list(self._hashes), list(self._texts)

    @classmethod
    def of_kept(cls, hashes: Iterable[int], texts: Iterable[str]) -> Distinct:
        """Made again of what `kept` gave."""
        made = cls()
        made._hashes = array("Q", hashes)
        made._texts = list(texts)
        return made

    def _place(self, hashed: int) -> int | None:
        """Where a hash belongs; ``None`` when it is there already, or too large to keep."""
        hashes = self._hashes
        if len(hashes) == KEPT and hashed >= hashes[-1]:
            return None
        place = bisect_left(hashes, hashed)
        return None if place < len(hashes) and hashes[place] == hashed else place

    def _insert(self, place: int, hashed: int, text: str | None) -> None:
        self._hashes.insert(place, hashed)
        del self._hashes[KEPT:]
        if text is not None:
            self._texts.insert(place, text)
            del self._texts[MAX_EXAMPLES:]

    @property
    def count(self) -> int:
        """How many different ones, exact while `is_exact`."""
        if self.is_exact:
            return len(self._hashes)
        return round((KEPT - 1) * _SPACE / (self._hashes[-1] + 1))

    @property
    def is_exact(self) -> bool:
        """Whether the count is exact; otherwise it is off by about a quarter."""
        return len(self._hashes) < KEPT

    @property
    def examples(self) -> tuple[str, ...]:
        """Some of them, in alphabetical order."""
        return tuple(sorted(self._texts))

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Distinct) and self._hashes == other._hashes and self._texts == other._texts

    __hash__ = None  # type: ignore[assignment]  # it changes

    def __repr__(self) -> str:
        return f"Distinct({'' if self.is_exact else 'about '}{self.count}: {', '.join(self.examples)})"
