"""Nodes of a YAML text with where they stand, and their plain values. Never reads or writes text."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from controlplane.policy.findings import Place


class Kind(enum.Enum):
    """What a scalar is before anybody asks for something else."""

    TEXT = "a text"
    INTEGER = "a number"
    BOOLEAN = "true or false"
    NOTHING = "nothing"
    NUMBER = "a number with a fraction"
    TIME = "a date"


@dataclass(frozen=True, slots=True)
class Scalar:
    """One value as it was written; ``text`` is without quotes."""

    text: str
    kind: Kind
    place: Place
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


@dataclass(frozen=True, slots=True)
class Entry:
    """A key and its value."""

    key: Scalar
    value: Node


@dataclass(frozen=True, slots=True)
class Mapping:
    """Keys and values in their order. ``flow`` when written with braces; ``start`` and ``end`` are offsets in the text."""

    entries: tuple[Entry, ...]
    place: Place
    flow: bool = field(default=False, compare=False)
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)

    def get(self, key: str) -> Node | None:
        """The value of a key."""
        return next((entry.value for entry in self.entries if entry.key.text == key), None)


@dataclass(frozen=True, slots=True)
class Sequence:
    """Items in their order. ``flow`` when written with brackets; ``start`` and ``end`` are offsets in the text."""

    items: tuple[Node, ...]
    place: Place
    flow: bool = field(default=False, compare=False)
    start: int = field(default=0, compare=False)
    end: int = field(default=0, compare=False)


Node = Scalar | Mapping | Sequence

Plain = str | tuple[str, str] | list["Plain"] | dict[str, "Plain"]


def plain(node: Node) -> Plain:
    """The value without places: texts, other scalars as (kind, text), lists, dictionaries."""
    if isinstance(node, Scalar):
        return node.text if node.kind is Kind.TEXT else (node.kind.value, node.text)
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {entry.key.text: plain(entry.value) for entry in node.entries}
