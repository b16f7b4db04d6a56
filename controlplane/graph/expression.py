"""What people write to find or hide parts of the map: words such as ``shop/*``, ``state:denied``, ``port:6379``. Pure.

Any of the words is enough. A word without a field is a name, where ``*`` stands for any text, or a part of one.
"""

from __future__ import annotations

import enum
from collections.abc import Mapping
from dataclasses import dataclass

from controlplane.graph.links import Link, State
from controlplane.graph.render.picture import Node
from controlplane.policy.rules import Mode

MAX_LENGTH = 500
_WORDS = 20


class Field(enum.StrEnum):
    """What a word can be about; the first few are of names, the others of links."""

    NAME = "name"
    NAMESPACE = "namespace"
    KIND = "kind"
    MODE = "mode"
    STATE = "state"
    PORT = "port"
    PROTOCOL = "protocol"


_CHOICES: Mapping[Field, tuple[str, ...]] = {Field.STATE: tuple(map(str, State)), Field.MODE: tuple(map(str, Mode))}


@dataclass(frozen=True, slots=True)
class Word:
    """One word of an expression."""

    field: Field
    value: str


@dataclass(frozen=True, slots=True)
class BadExpression:
    """What is wrong with an expression, and what to do."""

    text: str
    remedy: str


@dataclass(frozen=True, slots=True)
class Expression:
    """Some words; an empty one matches nothing."""

    words: tuple[Word, ...] = ()

    def matches_node(self, node: Node, mode: str) -> bool:
        """Whether a name is meant."""
        values = {Field.NAMESPACE: node.namespace, Field.KIND: node.kind, Field.MODE: mode}
        return any(
            _is_like(node.name, word.value) if word.field is Field.NAME else word.value == values.get(word.field)
            for word in self.words
        )

    def matches_link(self, link: Link) -> bool:
        """Whether a link is meant."""
        ports = [port.partition(" ") for port in link.ports]
        values: Mapping[Field, list[str]]
        values = {Field.STATE: [str(link.state)], Field.PORT: [p[0] for p in ports], Field.PROTOCOL: [p[2] for p in ports]}
        return any(word.value in values.get(word.field, ()) for word in self.words)


def read_expression(text: str) -> Expression | BadExpression:
    """Read words with spaces between."""
    if len(text) > MAX_LENGTH:
        return BadExpression(f"more than {MAX_LENGTH} characters", "write less")
    words = []
    for written in text.split():
        name, colon, value = written.partition(":")
        if not colon or name == "ip":  # ip:10.0.0.1 is the name of a caller without identity
            words.append(Word(Field.NAME, written))
            continue
        field = next((known for known in Field if known == name), None)
        if field is None:
            return BadExpression(f"{name[:40]}: is no field", f"the fields are {', '.join(Field)}")
        if not value or (field in _CHOICES and value not in _CHOICES[field]):
            known = ", ".join(_CHOICES.get(field, ()))
            return BadExpression(f"{written[:60]}: no {name} is called so", f"write one of {known}" if known else "write a value")
        words.append(Word(field, value))
    if len(words) > _WORDS:
        return BadExpression(f"more than {_WORDS} words", "write less")
    return Expression(tuple(words))


def _is_like(name: str, wanted: str) -> bool:
    if "*" not in wanted:
        return wanted in name
    # By hand: an expression with many stars would take a regular one for ever.
    first, *middle, last = wanted.split("*")
    if len(name) < len(first) + len(last) or not (name.startswith(first) and name.endswith(last)):
        return False
    at, end = len(first), len(name) - len(last)
    for part in middle:
        found = name.find(part, at, end)
        if found < 0:
            return False
        at = found + len(part)
    return True
