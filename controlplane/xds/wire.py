"""Protocol-buffer bytes put together from cached parts, so that a large allow-list is spliced, not rebuilt. Knows no message.

Encoding: https://protobuf.dev/programming-guides/encoding/
"""

from __future__ import annotations


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
