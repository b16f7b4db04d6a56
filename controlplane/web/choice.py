"""Some rows of a proposal as an address says them: "1-4,7". Pure; knows no proposal."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable

from controlplane.api.requests import MAX_ROWS

#: More is no address.
MAX_TEXT = 30_000
_SPAN = re.compile(r"([1-9][0-9]{0,5})(?:-([1-9][0-9]{0,5}))?")


def read_rows(texts: Iterable[str]) -> frozenset[int] | None:
    """The rows, counted from 1, of texts such as "3", "5-9" or "1,2"; ``None`` for others, and for more than a proposal has."""
    rows: set[int] = set()
    whole = ",".join(texts)
    if len(whole) > MAX_TEXT:
        return None
    for text in whole.split(","):
        if not text:
            continue
        span = _SPAN.fullmatch(text)
        if span is None:
            return None
        first, last = int(span[1]), int(span[2] or span[1])
        if not first <= last <= first + MAX_ROWS:
            return None
        rows.update(range(first, last + 1))
        if len(rows) > MAX_ROWS:
            return None
    return frozenset(rows)


def write_rows(rows: Collection[int]) -> str:
    """The shortest text that `read_rows` reads as these rows."""
    spans: list[list[int]] = []
    for row in sorted(rows):
        if spans and row == spans[-1][1] + 1:
            spans[-1][1] = row
        else:
            spans.append([row, row])
    return ",".join(str(first) if first == last else f"{first}-{last}" for first, last in spans)
