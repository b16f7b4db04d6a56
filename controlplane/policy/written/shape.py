"""Shapes of documents: which keys there are and what they hold. One description checks documents and becomes their JSON Schema.

A check goes on after the first mistake, and names for each the place, the key and what to do.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from controlplane.policy.findings import Finding, Place, Severity
from controlplane.policy.written import tree
from controlplane.policy.written.source import INVALID
from controlplane.policy.written.tree import Kind, Node, Scalar

_SHOWN_CHARACTERS = 80


def _same(given: Any) -> Any:
    return given


@dataclass(frozen=True, slots=True, kw_only=True)
class Text:
    """A text; ``what`` says which, ``pattern`` (RE2 and Python alike) and ``choices`` bound it, ``read`` turns it into a value.

    ``read`` raises `ValueError` for a text that is not one.
    """

    what: str
    pattern: str = ""
    choices: tuple[str, ...] = ()
    at_most: int = 253
    read: Callable[[str], Any] = _same
    is_time: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Integer:
    """A whole number within bounds, both included."""

    what: str
    at_least: int
    at_most: int


@dataclass(frozen=True, slots=True)
class Flag:
    """True or false."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ListOf:
    """A list of one shape."""

    item: Shape
    at_least: int = 1
    at_most: int = 1000


@dataclass(frozen=True, slots=True, kw_only=True)
class Texts:
    """Free keys with texts, such as labels and annotations."""

    at_most: int = 100


@dataclass(frozen=True, slots=True, kw_only=True)
class Key:
    """A key of a mapping."""

    shape: Shape
    about: str = ""
    required: bool = False


@dataclass(frozen=True, slots=True)
class Given:
    """What a mapping held: values by key, and where each key and the whole are."""

    place: Place
    values: Mapping[str, Any]
    places: Mapping[str, Place]

    def get(self, key: str, default: Any = None) -> Any:
        """A key's value."""
        return self.values.get(key, default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Fields:
    """A mapping of known keys, in the order in which they are written.

    Exactly one of the keys ``one_of`` is there, at least one of ``any_of``; ``build`` makes the value and raises `ValueError`
    when the keys do not go together.
    """

    keys: Mapping[str, Key]
    one_of: tuple[str, ...] = ()
    any_of: tuple[str, ...] = ()
    build: Callable[[Given], Any] = field(default=_same)


Shape = Text | Integer | Flag | ListOf | Texts | Fields


def read_value(shape: Shape, node: Node) -> tuple[Any, tuple[Finding, ...]]:
    """The value that a node holds, and all that is wrong with it; the value is ``None`` when something is."""
    checker = _Checker()
    value = checker.value(shape, node, "")
    return (None if checker.findings else value), tuple(checker.findings)


def wrong(place: Place, key: str, message: str, remedy: str = "") -> Finding:
    """The finding for something that does not read."""
    return Finding(INVALID, Severity.ERROR, message, place, key, remedy)


class _Checker:
    """Collects what is wrong."""

    def __init__(self) -> None:
        self.findings: list[Finding] = []

    def value(self, shape: Shape, node: Node, key: str) -> Any:
        match shape:
            case Text():
                return self._text(shape, node, key)
            case Integer():
                return self._integer(shape, node, key)
            case Flag():
                return self._flag(node, key)
            case ListOf():
                return self._list(shape, node, key)
            case Texts():
                return self._texts(shape, node, key)
            case Fields():
                return self._fields(shape, node, key)

    def _fail(self, node: Node, key: str, message: str, remedy: str = "") -> None:
        self.findings.append(wrong(node.place, key, message, remedy))

    def _text(self, shape: Text, node: Node, key: str) -> Any:
        if not isinstance(node, Scalar):
            return self._fail(node, key, f"{_said(node)} where {shape.what} is wanted")
        if node.kind is not Kind.TEXT and not (shape.is_time and node.kind is Kind.TIME):
            quote = f"quote it: '{node.text}'" if node.text and node.kind is not Kind.NOTHING else ""
            return self._fail(node, key, f"{_said(node)} where {shape.what} is wanted", quote)
        if len(node.text) > shape.at_most:
            return self._fail(node, key, f"longer than {shape.at_most} characters")
        shown = repr(node.text[:_SHOWN_CHARACTERS])
        if shape.choices and node.text not in shape.choices:
            return self._fail(node, key, f"{shown} is not one of {', '.join(shape.choices)}", _nearest(node.text, shape.choices))
        if not node.text or (shape.pattern and re.fullmatch(shape.pattern, node.text) is None):
            return self._fail(node, key, f"{shown} is not {shape.what}")
        try:
            return shape.read(node.text)
        except ValueError as error:
            return self._fail(node, key, str(error), f"write {shape.what}")

    def _integer(self, shape: Integer, node: Node, key: str) -> Any:
        # Only the digits that every YAML reader takes as the same number.
        if not isinstance(node, Scalar) or node.kind is not Kind.INTEGER or re.fullmatch(r"0|[1-9][0-9]{0,17}", node.text) is None:
            unquote = "remove the quotes" if isinstance(node, Scalar) and node.kind is Kind.TEXT and node.text.isdecimal() else ""
            return self._fail(node, key, f"{_said(node)} where {shape.what} is wanted", unquote)
        if not shape.at_least <= int(node.text) <= shape.at_most:
            return self._fail(node, key, f"{node.text} is not {shape.what}: {shape.at_least} to {shape.at_most}")
        return int(node.text)

    def _flag(self, node: Node, key: str) -> Any:
        if not isinstance(node, Scalar) or node.kind is not Kind.BOOLEAN or node.text not in {"true", "false"}:
            return self._fail(node, key, f"{_said(node)} where true or false is wanted")
        return node.text == "true"

    def _list(self, shape: ListOf, node: Node, key: str) -> Any:
        if not isinstance(node, tree.Sequence):
            return self._fail(node, key, f"{_said(node)} where a list is wanted", "begin each item with a dash")
        if len(node.items) < shape.at_least:
            remedy = "leave the key out" if not node.items else ""
            return self._fail(node, key, f"{len(node.items)} items where at least {shape.at_least} is wanted", remedy)
        if len(node.items) > shape.at_most:
            return self._fail(node, key, f"{len(node.items)} items; at most {shape.at_most} are read", "split it")
        return tuple(self.value(shape.item, item, f"{key}[{index}]") for index, item in enumerate(node.items))

    def _texts(self, shape: Texts, node: Node, key: str) -> Any:
        if not isinstance(node, tree.Mapping):
            return self._fail(node, key, f"{_said(node)} where a mapping is wanted")
        if len(node.entries) > shape.at_most:
            return self._fail(node, key, f"{len(node.entries)} keys; at most {shape.at_most} are read")
        anything = Text(what="a text", pattern=r"(?s).*", at_most=4096)
        found: dict[str, str] = {}
        for entry in node.entries:
            if isinstance(entry.value, Scalar) and entry.value.kind is Kind.TEXT and not entry.value.text:
                found[entry.key.text] = ""
            else:
                found[entry.key.text] = self._text(anything, entry.value, f"{key}.{entry.key.text}")
        return found

    def _fields(self, shape: Fields, node: Node, key: str) -> Any:
        if not isinstance(node, tree.Mapping):
            return self._fail(node, key, f"{_said(node)} where a mapping is wanted", f"its keys are {', '.join(shape.keys)}")
        before = len(self.findings)
        values: dict[str, Any] = {}
        places: dict[str, Place] = {}
        for entry in node.entries:
            name = entry.key.text
            below = f"{key}.{name}" if key else name
            known = shape.keys.get(name)
            if known is None:
                remedy = _nearest(name, shape.keys) or f"known are {', '.join(shape.keys)}"
                self.findings.append(wrong(entry.key.place, below, "is not a known key", remedy))
                continue
            places[name] = entry.key.place
            values[name] = self.value(known.shape, entry.value, below)
        for name, known in shape.keys.items():
            if known.required and name not in values:
                self._fail(node, f"{key}.{name}" if key else name, "is missing", known.about and f"add it: {known.about}")
        there = [name for name in shape.one_of if name in values]
        if shape.one_of and len(there) != 1:
            self._fail(node, key, f"{' and '.join(there) or 'nothing'} where exactly one of {', '.join(shape.one_of)} is wanted")
        if shape.any_of and not any(name in values for name in shape.any_of):
            self._fail(node, key, f"at least one of {', '.join(shape.any_of)} is wanted")
        if len(self.findings) > before:
            return None
        try:
            return shape.build(Given(node.place, values, places))
        except ValueError as error:
            return self._fail(node, key, str(error))


def _said(node: Node) -> str:
    if isinstance(node, tree.Mapping):
        return "a mapping"
    if isinstance(node, tree.Sequence):
        return "a list"
    return node.kind.value if node.kind in {Kind.NOTHING, Kind.TEXT} else f"{node.kind.value} ({node.text[:_SHOWN_CHARACTERS]})"


def _nearest(text: str, known: Mapping[str, Any] | tuple[str, ...]) -> str:
    near = difflib.get_close_matches(text[:_SHOWN_CHARACTERS], list(known), n=1)
    return f"did you mean {near[0]}?" if near else ""


def json_schema(shape: Shape, *, closed: bool = True) -> dict[str, Any]:
    """The shape as JSON Schema. Not ``closed`` it is also a structural schema, as Kubernetes wants of a CRD.

    Source: https://kubernetes.io/docs/tasks/extend-kubernetes/custom-resources/custom-resource-definitions/#specifying-a-structural-schema
    """
    match shape:
        case Text(choices=choices) if choices:
            return {"type": "string", "enum": list(choices)}
        case Text():
            made: dict[str, Any] = {"type": "string", "minLength": 1, "maxLength": shape.at_most}
            return {**made, "pattern": f"^(?:{shape.pattern})$"} if shape.pattern else made
        case Integer():
            return {"type": "integer", "minimum": shape.at_least, "maximum": shape.at_most}
        case Flag():
            return {"type": "boolean"}
        case ListOf():
            items = json_schema(shape.item, closed=closed)
            return {"type": "array", "minItems": shape.at_least, "maxItems": shape.at_most, "items": items}
        case Texts():
            text = {"type": "string", "maxLength": 4096}
            return {"type": "object", "maxProperties": shape.at_most, "additionalProperties": text}
        case Fields():
            return {"type": "object", **dict(_members(shape, closed=closed))}


def _members(shape: Fields, *, closed: bool) -> Iterator[tuple[str, Any]]:
    required = [name for name, key in shape.keys.items() if key.required]
    if required:
        yield "required", required
    if shape.one_of:
        yield "oneOf", [{"required": [name]} for name in shape.one_of]
    if shape.any_of:
        yield "anyOf", [{"required": [name]} for name in shape.any_of]
    yield (
        "properties",
        {
            name: {**({"description": key.about} if key.about else {}), **json_schema(key.shape, closed=closed)}
            for name, key in shape.keys.items()
        },
    )
    if closed:
        yield "additionalProperties", False
