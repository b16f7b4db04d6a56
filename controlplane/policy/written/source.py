"""Reads YAML text into nodes with places, within bounds. Refuses what hides meaning: anchors, aliases, tags, keys twice.

Built on the parser's events, so that a small text of aliases or brackets cannot stand for a huge or deep document.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from controlplane.policy.findings import Finding, Place, Severity
from controlplane.policy.written.tree import Entry, Kind, Mapping, Node, Scalar, Sequence

MAX_BYTES = 4 * 1024 * 1024
MAX_VALUES = 500_000
MAX_DEPTH = 32
#: Longer ones could not be written on one line again.
MAX_KEY_CHARACTERS = 80
INVALID = "invalid"
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
#: Line ends to YAML that editors and diffs do not show as such.
_HIDDEN_BREAK = re.compile("[\x85\u2028\u2029]")
_SHOWN_CHARACTERS = 60
# What a plain scalar is, to YAML 1.1 readers (as Kubernetes') and 1.2 readers alike.
_KINDS = (
    (Kind.NOTHING, re.compile(r"(?:~|null|Null|NULL|)\Z")),
    (Kind.BOOLEAN, re.compile(r"(?i:true|false|yes|no|on|off)\Z")),
    (Kind.INTEGER, re.compile(r"[-+]?(?:0b[01_]+|0o?[0-7_]+|[0-9][0-9_]*|0x[0-9a-fA-F_]+|[1-9][0-9_]*(?::[0-5]?[0-9])+)\Z")),
    (
        Kind.NUMBER,
        re.compile(r"[-+]?(?:(?:[0-9][0-9_]*)?\.[0-9_]+|[0-9][0-9_]*\.?)(?:[eE][-+]?[0-9]+)?\Z|[-+]?\.(?i:inf)\Z|\.(?i:nan)\Z"),
    ),
    (Kind.NUMBER, re.compile(r"[-+]?[0-9][0-9_]*(?::[0-5]?[0-9])+\.[0-9_]*\Z")),
    (Kind.TIME, re.compile(r"[0-9]{4}-[0-9]{1,2}-[0-9]{1,2}(?:(?:[Tt]|[ \t]+)[0-9:.]+[ \t]*(?:Z|[-+][0-9:]+)?)?\Z")),
    (Kind.NOTHING, re.compile(r"[=]\Z|<<\Z")),  # YAML 1.1's "value" and "merge": never a text
)


def kind_of(text: str) -> Kind:
    """What a scalar without quotes is."""
    return next((kind for kind, pattern in _KINDS if pattern.match(text)), Kind.TEXT)


@dataclass(frozen=True, slots=True)
class Source:
    """A file's text with line feeds only, and the root node of each document that is not empty."""

    file: str
    text: str
    documents: tuple[Node, ...]


def read_source(body: bytes, file: str) -> Source | Finding:
    """The documents of a YAML file, or the first thing that keeps it from being read."""
    if len(body) > MAX_BYTES:
        return Finding(INVALID, Severity.ERROR, f"larger than {MAX_BYTES} bytes", Place(file), remedy="split it")
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        place = Place(file, body.count(b"\n", 0, error.start) + 1)
        return Finding(INVALID, Severity.ERROR, f"not UTF-8 text: {error.reason}", place, remedy="save it as UTF-8")
    text = text.replace("\r\n", "\n").replace("\r", "\n")
    try:
        hidden = _HIDDEN_BREAK.search(text)
        if hidden is not None:
            place = _place(file, text, hidden.start())
            raise _RefusedError(place, f"a hidden line end {hidden[0]!a}", "write it as an escape in quotes")
        return Source(file, text, tuple(_Reader(file, text).documents()))
    except _RefusedError as refused:
        return Finding(INVALID, Severity.ERROR, refused.what, refused.place, remedy=refused.remedy)
    except yaml.reader.ReaderError as error:
        return Finding(INVALID, Severity.ERROR, f"not YAML: {error.reason}", _place(file, text, error.position))
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
        place = Place(file) if mark is None else Place(file, min(mark.line, text.count("\n")) + 1, mark.column + 1)
        what = getattr(error, "problem", None) or getattr(error, "context", None) or "it does not parse"
        return Finding(INVALID, Severity.ERROR, f"not YAML: {what}", place)


def _place(file: str, text: str, offset: int) -> Place:
    return Place(file, text.count("\n", 0, offset) + 1, offset - text.rfind("\n", 0, offset))


class _RefusedError(Exception):
    """What is not read, within this module."""

    def __init__(self, place: Place, what: str, remedy: str) -> None:
        super().__init__(what)
        self.place = place
        self.what = what
        self.remedy = remedy


class _Reader:
    """Builds nodes from the parser's events."""

    def __init__(self, file: str, text: str) -> None:
        self._file = file
        self._events = yaml.parse(text, Loader=_LOADER)
        self._values = 0

    def documents(self) -> Iterator[Node]:
        for event in self._events:
            if isinstance(event, yaml.DocumentStartEvent):
                if event.version or event.tags:
                    raise _RefusedError(self._at(event), "directives are not read", "remove the line")
                root = self._node(next(self._events), 0)
                if not isinstance(root, Scalar) or root.kind is not Kind.NOTHING:
                    yield root

    def _node(self, event: yaml.Event, depth: int) -> Node:
        place = self._at(event)
        self._values += 1
        if self._values > MAX_VALUES:
            raise _RefusedError(place, f"more than {MAX_VALUES} values", "split the file")
        if depth > MAX_DEPTH:
            raise _RefusedError(place, f"nested deeper than {MAX_DEPTH}", "write it flatter")
        if not isinstance(event, (yaml.ScalarEvent, yaml.CollectionStartEvent)) or event.anchor is not None:
            raise _RefusedError(place, "anchors and aliases are not read", "write the value out")
        if event.tag is not None:
            raise _RefusedError(place, "tags are not read", "remove it, and quote what is to be a text")
        if isinstance(event, yaml.ScalarEvent):
            kind = kind_of(event.value) if event.implicit[0] else Kind.TEXT
            return Scalar(event.value, kind, place, *_extent(event, event))
        if isinstance(event, yaml.SequenceStartEvent):
            return self._sequence(event, depth)
        assert isinstance(event, yaml.MappingStartEvent)
        return self._mapping(event, depth)

    def _sequence(self, start: yaml.SequenceStartEvent, depth: int) -> Sequence:
        items: list[Node] = []
        while not isinstance(event := next(self._events), yaml.SequenceEndEvent):
            items.append(self._node(event, depth + 1))
        return Sequence(tuple(items), self._at(start), bool(start.flow_style), *_extent(start, event))

    def _mapping(self, start: yaml.MappingStartEvent, depth: int) -> Mapping:
        entries: list[Entry] = []
        known: set[str] = set()
        while not isinstance(event := next(self._events), yaml.MappingEndEvent):
            key = self._node(event, depth + 1)
            if not isinstance(key, Scalar):
                raise _RefusedError(key.place, "a key that is not a plain text", "write keys as texts")
            if len(key.text) > MAX_KEY_CHARACTERS:
                raise _RefusedError(key.place, f"a key longer than {MAX_KEY_CHARACTERS} characters", "choose a shorter one")
            if key.text in known:
                raise _RefusedError(key.place, f"the key {key.text[:_SHOWN_CHARACTERS]!r} is there twice", "keep one of them")
            known.add(key.text)
            entries.append(Entry(key, self._node(next(self._events), depth + 1)))
        return Mapping(tuple(entries), self._at(start), bool(start.flow_style), *_extent(start, event))

    def _at(self, event: yaml.Event) -> Place:
        mark = event.start_mark
        assert mark is not None
        return Place(self._file, mark.line + 1, mark.column + 1)


def _extent(first: yaml.Event, last: yaml.Event) -> tuple[int, int]:
    """The offsets at which some text begins and ends."""
    assert first.start_mark is not None
    assert last.end_mark is not None
    return first.start_mark.index, last.end_mark.index
