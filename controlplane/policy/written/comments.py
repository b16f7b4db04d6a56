"""Finds the comments of a YAML text and ties each to the entry or item that it speaks of. Never changes a value.

The parser drops comments, but says where each scalar begins and ends: outside of scalars, ``#`` begins a comment and nothing else.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from controlplane.policy.written.source import Source
from controlplane.policy.written.tree import Mapping, Node, Scalar
from controlplane.policy.written.tree import Sequence as ListNode

_BLOCK_HEADER = re.compile(r"[|>][-+0-9]{0,2}[ \t]+(#[^\n]*)")
_ONLY_DASHES = re.compile(r"[ ]*-(?:[ ]+-)*[ ]*\Z")
_DOCUMENT_MARK = re.compile(r"^(---|\.\.\.)(?=[ \t\n]|\Z)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Comment:
    """One comment with its ``#``; ``alone`` when nothing else is on its line. Lines and columns count from 1."""

    text: str
    line: int
    column: int
    offset: int
    alone: bool


@dataclass(slots=True)
class Part:
    """An entry (with a key), an item or a whole document (without), and what is written about it.

    ``above`` are comment lines before it, ``below`` those at the end of its children; "" stands for an empty line. ``beside``
    is the comment on its own line. ``value`` is a scalar, or its children when it is a mapping or a list.
    """

    key: Scalar | None
    value: Scalar | list[Part]
    is_list: bool = False
    above: list[str] = field(default_factory=list)
    beside: str = ""
    below: list[str] = field(default_factory=list)


@dataclass(slots=True)
class Annotated:
    """A file's documents with their comments; ``foot`` is what stands behind the last one."""

    documents: list[Part]
    foot: list[str]


def comments_of(source: Source) -> tuple[Comment, ...]:
    """Every comment, in order."""
    starts = _line_starts(source.text)
    found: list[Comment] = []
    position = 0
    for scalar in _scalars(source.documents):
        found += _between(source.text, starts, position, scalar.start)
        header = _BLOCK_HEADER.match(source.text, scalar.start, scalar.end)
        if header is not None:
            found.append(_comment(source.text, starts, header.start(1), header[1]))
        position = max(position, scalar.end)
    found += _between(source.text, starts, position, len(source.text))
    return tuple(found)


def _line_starts(text: str) -> list[int]:
    return [0, *(found.end() for found in re.finditer("\n", text))]


def _scalars(nodes: Sequence[Node]) -> Iterator[Scalar]:
    waiting: list[Node] = list(reversed(nodes))
    while waiting:
        node = waiting.pop()
        if isinstance(node, Scalar):
            yield node
        elif isinstance(node, ListNode):
            waiting.extend(reversed(node.items))
        else:
            for entry in reversed(node.entries):
                waiting += (entry.value, entry.key)


def _between(text: str, starts: list[int], start: int, end: int) -> Iterator[Comment]:
    while (at := text.find("#", start, end)) >= 0:
        stop = text.find("\n", at)
        stop = len(text) if stop < 0 else stop
        yield _comment(text, starts, at, text[at:stop])
        start = stop


def _comment(text: str, starts: list[int], at: int, words: str) -> Comment:
    line = bisect_right(starts, at)
    begin = starts[line - 1]
    return Comment(words.rstrip(), line, at - begin + 1, at, not text[begin:at].strip())


def annotate(source: Source) -> Annotated:
    """The documents as parts, each comment at exactly one of them or at the foot."""
    annotator = _Annotator(source)
    documents: list[Part] = []
    marks = [mark.start() for mark in _DOCUMENT_MARK.finditer(source.text)]
    for index, root in enumerate(source.documents):
        # What stands before the next mark speaks of this document, what stands behind it of the next.
        following = source.documents[index + 1].start if index + 1 < len(source.documents) else len(source.text)
        first = bisect_left(marks, _end_of(root))
        end = min(marks[first], following) if first < len(marks) else following
        documents.append(annotator.document(root, end))
    return Annotated(documents, annotator.rest())


def _end_of(node: Node) -> int:
    """Where the text of a node ends; blocks end with their last scalar or bracket."""
    while not isinstance(node, Scalar) and not node.flow:
        node = node.items[-1] if isinstance(node, ListNode) else node.entries[-1].value
    return node.end


class _Annotator:
    """Walks nodes and comments side by side, in the order of the text."""

    def __init__(self, source: Source) -> None:
        self._text = source.text
        self._lines = source.text.split("\n")
        self._starts = _line_starts(source.text)
        self._comments = deque(comments_of(source))
        self._last_line = 0

    def document(self, root: Node, end: int) -> Part:
        part = Part(None, [])
        self._above(part, root.start, root.place.line)
        self._value(part, root, end, 0)
        while self._comments and self._comments[0].offset < end:
            self._take(part.below)
        return part

    def rest(self) -> list[str]:
        lines: list[str] = []
        while self._comments:
            self._take(lines)
        return lines

    def _above(self, part: Part, start: int, line: int) -> None:
        while self._comments and self._comments[0].offset < start:
            self._take(part.above)
        if line > self._last_line:
            # A dash may stand alone, lines above what it holds.
            dash = line
            while part.key is None and dash >= 2 and _ONLY_DASHES.match(self._lines[dash - 2]):
                dash -= 1
            self._blank(part.above, dash)
            self._last_line = line

    def _take(self, lines: list[str]) -> None:
        comment = self._comments.popleft()
        if comment.alone:
            self._blank(lines, comment.line)
        lines.append(comment.text)
        self._last_line = comment.line

    def _blank(self, lines: list[str], line: int) -> None:
        if line >= 2 and not self._lines[line - 2].strip() and (not lines or lines[-1]):
            lines.append("")

    def _beside(self, part: Part, line: int, before: int) -> None:
        """A comment on the line on which the part's own text ends."""
        if part.beside or not self._comments:
            return
        comment = self._comments[0]
        if not comment.alone and comment.line == line and comment.offset < before:
            self._comments.popleft()
            part.beside = comment.text

    def _value(self, part: Part, node: Node, following: int, following_column: int) -> None:
        """Fill in a part's value; ``following`` is where the text goes on after it, and in which column."""
        if part.key is not None:
            self._beside(part, part.key.place.line, node.start)
        if isinstance(node, Scalar):
            while self._comments and self._comments[0].offset < node.start:
                self._take(part.above)
            part.value = node
            self._scalar_end(part, node, following)
            return
        part.is_list = isinstance(node, ListNode)
        outside = following
        if node.flow:
            following, following_column = node.end, 0
            while self._comments and self._comments[0].offset < node.start:
                self._take(part.above)
        part.value = self._children(node, following, following_column)
        while self._comments and self._within(self._comments[0], node, following, following_column):
            self._take(part.below)
        if not part.value:
            part.above, part.below = [*part.above, *filter(None, part.below)], []
        if node.flow:
            self._beside(part, bisect_right(self._starts, node.end), outside)

    def _scalar_end(self, part: Part, scalar: Scalar, following: int) -> None:
        block = self._text.startswith(("|", ">"), scalar.start) and scalar.end > scalar.start
        line = scalar.place.line if block else bisect_right(self._starts, scalar.end)
        self._beside(part, line, max(following, scalar.end))

    def _children(self, node: Mapping | ListNode, following: int, following_column: int) -> list[Part]:
        pairs: list[tuple[Scalar | None, Node]] = (
            [(None, item) for item in node.items]
            if isinstance(node, ListNode)
            else [(entry.key, entry.value) for entry in node.entries]
        )
        parts: list[Part] = []
        for index, (key, value) in enumerate(pairs):
            part = Part(key, [])
            begin = value if key is None else key
            self._above(part, begin.start, begin.place.line)
            after, column = following, following_column
            if index + 1 < len(pairs):
                next_key, next_value = pairs[index + 1]
                after, column = (next_value if next_key is None else next_key).start, node.place.column
            self._value(part, value, after, column)
            parts.append(part)
        return parts

    def _within(self, comment: Comment, node: Mapping | ListNode, following: int, following_column: int) -> bool:
        """Whether a comment after the last child belongs to the children, and not to what follows."""
        if node.flow:
            return comment.offset < node.end
        return comment.offset < following and comment.column >= node.place.column and comment.column > following_column
