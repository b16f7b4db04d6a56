"""Protocol-buffer bytes put together from cached parts, so that a large allow-list is spliced, not rebuilt. Knows no message.

Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations

from collections.abc import Sequence


def varint(value: int) -> bytes:
    """A non-negative integer as a base-128 varint."""
    if value < 0x80:
        return bytes((value,))
    parts = bytearray()
    while value >= 0x80:
        parts.append(value & 0x7F | 0x80)
        value >>= 7
    parts.append(value)
    return bytes(parts)


def field(number: int, body: bytes) -> bytes:
    """A length-delimited field: message, string or bytes."""
    return varint(number << 3 | 2) + varint(len(body)) + body


def text(number: int, value: str) -> bytes:
    """A string field; nothing when it is empty, as proto3 has it."""
    return field(number, value.encode()) if value else b""


def any_message(type_url: str, body: bytes) -> bytes:
    """The body of a ``google.protobuf.Any``."""
    return text(1, type_url) + (field(2, body) if body else b"")


class Splice:
    """A long message body as its parts. Nesting it in further messages costs their heads; the bytes are copied once, at the end."""

    def __init__(self, parts: Sequence[bytes]) -> None:
        self.size = sum(map(len, parts))
        self._parts = parts
        self._heads: list[bytes] = []
        self._tails: list[bytes] = []

    def nest(self, number: int, before: bytes = b"", after: bytes = b"") -> Splice:
        """Make it field ``number`` of a message that has these other fields around it."""
        head = before + varint(number << 3 | 2) + varint(self.size)
        self._heads.append(head)
        self._tails.append(after)
        self.size += len(head) + len(after)
        return self

    def append(self, after: bytes) -> Splice:
        """Put fields behind it, in the same message."""
        self._tails.append(after)
        self.size += len(after)
        return self

    def nest_in_any(self, number: int, type_url: str, before: bytes = b"") -> Splice:
        """Make it the value of an ``Any`` that is field ``number`` of a message."""
        return self.nest(2, text(1, type_url)).nest(number, before)

    def join(self) -> bytes:
        """The bytes."""
        return b"".join([*reversed(self._heads), *self._parts, *self._tails])
