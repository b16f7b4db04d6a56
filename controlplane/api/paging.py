"""Cursors of lists that can grow: where a page ended, as text for the next call. Knows no list.

A cursor holds the key of the last row, not a count of rows: what comes or goes meanwhile neither repeats nor hides a row.
"""

from __future__ import annotations

import binascii
from base64 import urlsafe_b64decode, urlsafe_b64encode
from bisect import bisect_right
from collections.abc import Callable, Sequence
from http import HTTPStatus
from typing import Any, TypeVar

import msgspec

from controlplane.api.problems import problem

Row = TypeVar("Row")
Key = TypeVar("Key")
#: What databases count to.
_MAX = 2**63 - 1


def cursor_of(key: object) -> str:
    """The text of a key; tuples become lists."""
    return urlsafe_b64encode(msgspec.json.encode(key)).decode()


def key_of(cursor: str, kind: type[Key]) -> Key:
    """The key of a text.

    Raises:
        ApiProblemError: it is no cursor of this list.
    """
    try:
        return msgspec.json.decode(urlsafe_b64decode(cursor.encode()), type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError, binascii.Error) as error:
        remedy = "send the next_cursor of an answer as it is, or none"
        raise problem(
            HTTPStatus.BAD_REQUEST, "query", "that is no cursor of this list", where="query.cursor", remedy=remedy
        ) from error


def number_of(cursor: str) -> int | None:
    """The number where a page of numbered rows ended; ``None`` for the first page."""
    return min(max(key_of(cursor, int), 0), _MAX) if cursor else None


def page(rows: Sequence[Row], limit: int, key: Callable[[Row], object]) -> tuple[Sequence[Row], str | None]:
    """The first ``limit`` of rows of which one more was read, if there is one; and the cursor to go on."""
    if len(rows) <= limit:
        return rows, None
    return rows[:limit], cursor_of(key(rows[limit - 1]))


def page_after(
    rows: Sequence[Row], limit: int, cursor: str, key: Callable[[Row], Any], kind: type[Any]
) -> tuple[Sequence[Row], str | None]:
    """A page of all rows, which are in the order of their keys."""
    start = bisect_right(rows, key_of(cursor, kind), key=key) if cursor else 0
    return page(rows[start : start + limit + 1], limit, key)
