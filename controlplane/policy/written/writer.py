"""Writes annotated YAML in one canonical form: what is equal is written equally, and a second pass changes nothing. Never reads.

Mappings and lists are written one line per entry, lists at the column of their key (as kubectl does); short lists of plain
values stay on one line.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from controlplane.policy.written.comments import Annotated, Part
from controlplane.policy.written.source import kind_of
from controlplane.policy.written.tree import Kind, Scalar

WIDTH = 100
_INDENT = "  "
_PLAIN = re.compile(r"[A-Za-z0-9_/.$(+][A-Za-z0-9_/.$()+@=;,~^%!&*?<>|'{}\[\]\"\\ :#-]*\Z")
_NOT_PLAIN = re.compile(r":(?: |\Z)| #| \Z|\A(?:---|\.\.\.)(?: |\Z)")
_FLOW_PLAIN = re.compile(r"[A-Za-z0-9_/.$+-]+\Z")
_SHORT_ESCAPES = {"\n": "\\n", "\t": "\\t"}
_WORDS = re.compile(r"[^\s]+(?: [^\s]+)+\Z")


def write(annotated: Annotated) -> str:
    """The text of all documents; empty when there is neither a document nor a comment."""
    lines: list[str] = []
    for document in annotated.documents:
        _lift(document)
        if lines:
            lines.append("---")
        lines += [*_without_blanks_ahead(document.above), *_document(document)]
    lines += annotated.foot if lines else _without_blanks_ahead(annotated.foot)
    return "".join(f"{line}\n" for line in lines)


def _without_blanks_ahead(lines: list[str]) -> list[str]:
    first = next((index for index, line in enumerate(lines) if line), len(lines))
    return lines[first:]


def _document(document: Part) -> list[str]:
    if isinstance(document.value, Scalar):
        first, *more = _scalar(document.value, 1)
        return [*_as_above(document.beside), first, *more, *document.below]
    if not document.value:
        return [*_as_above(document.beside), "[]" if document.is_list else "{}", *document.below]
    return [*_as_above(document.beside), *_children(document, 0), *document.below]


def _as_above(comment: str) -> list[str]:
    return [comment] if comment else []


def _children(part: Part, depth: int) -> list[str]:
    assert isinstance(part.value, list)
    lines: list[str] = []
    for index, child in enumerate(part.value):
        lines += _indented(child.above if index else _without_blanks_ahead(child.above), depth)
        lines += _item(child, depth) if part.is_list else _entry(child, depth)
    return lines


def _indented(lines: Iterable[str], depth: int) -> list[str]:
    return [_INDENT * depth + line if line else "" for line in lines]


def _entry(part: Part, depth: int) -> list[str]:
    assert part.key is not None
    lead = f"{_INDENT * depth}{_key(part.key)}:"
    if isinstance(part.value, Scalar) or not part.value or _short(part):
        return _one(lead, part, depth)
    deeper = depth if part.is_list else depth + 1
    return [_with(lead, part.beside), *_children(part, deeper), *_indented(part.below, deeper)]


def _one(lead: str, part: Part, depth: int) -> list[str]:
    """A value that begins on the line of its key or dash."""
    first, *more = _scalar(part.value, depth + 1) if isinstance(part.value, Scalar) else [_short(part)]
    return [_with(f"{lead} {first}".rstrip(), part.beside), *more, *_indented(part.below, depth)]


def _item(part: Part, depth: int) -> list[str]:
    lead = f"{_INDENT * depth}-"
    if isinstance(part.value, Scalar) or not part.value or _short(part):
        return _one(lead, part, depth)
    first, *others = part.value
    make = _item if part.is_list else _entry
    begin, *more = make(first, depth + 1)
    lines = [lead, begin, *more] if part.is_list else [f"{lead} {begin.lstrip()}", *more]
    for other in others:
        lines += [*_indented(other.above, depth + 1), *make(other, depth + 1)]
    return [*lines, *_indented(part.below, depth + 1)]


def _lift(part: Part) -> None:
    """Move comments from behind a dash to above it: there a reader would not give them back to the same child."""
    if isinstance(part.value, Scalar):
        return
    for child in part.value:
        _lift(child)
        if part.is_list and isinstance(child.value, list) and child.value and not _short(child):
            first = child.value[0]
            child.above += [line for line in (child.beside, *first.above) if line]
            child.beside, first.above = "", []


def _with(line: str, comment: str) -> str:
    return f"{line}  {comment}" if comment else line


def _short(part: Part) -> str:
    """The children on one line; empty when they are not only short plain values without comments."""
    assert isinstance(part.value, list)
    if not part.value:
        return "[]" if part.is_list else "{}"
    if not part.is_list:
        return ""
    texts: list[str] = []
    for child in part.value:
        if not isinstance(child.value, Scalar) or child.beside or any(child.above):
            return ""
        if child.value.kind is Kind.TEXT and not (_FLOW_PLAIN.match(child.value.text) and _is_text(child.value.text)):
            return ""
        if child.value.kind is Kind.NOTHING and not child.value.text:
            return ""
        texts.append(child.value.text)
    line = f"[{', '.join(texts)}]"
    return line if len(line) <= WIDTH - 20 else ""


def _key(key: Scalar) -> str:
    if key.kind is not Kind.TEXT:
        return key.text or '""'
    return _quoted(key.text)


def _is_text(text: str) -> bool:
    return kind_of(text) is Kind.TEXT


def _quoted(text: str) -> str:
    """A text on one line: plain where every reader takes it as that text, else in quotes."""
    if _PLAIN.match(text) and not _NOT_PLAIN.search(text) and _is_text(text):
        return text
    if text.isprintable():
        return "'" + text.replace("'", "''") + "'"
    return '"' + "".join(_escaped(character) for character in text) + '"'


def _escaped(character: str) -> str:
    if character in {'"', "\\"}:
        return f"\\{character}"
    if character.isprintable():
        return character
    if character in _SHORT_ESCAPES:
        return _SHORT_ESCAPES[character]
    code = ord(character)
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def _scalar(scalar: Scalar, depth: int) -> list[str]:
    """A value's lines; the first is written behind its key, the others are indented already."""
    text = scalar.text
    if scalar.kind is not Kind.TEXT:
        return [text]
    lines = text.split("\n")
    if len(lines) > 1 and _fits_literal(text, lines):
        ends = text.endswith("\n")
        return ["|" if ends else "|-", *_indented(lines[:-1] if ends else lines, depth)]
    one = _quoted(text)
    if len(one) > WIDTH and _WORDS.match(text) and text.isprintable():
        return [">-", *_indented(_wrapped(text), depth)]
    return [one]


def _fits_literal(text: str, lines: list[str]) -> bool:
    """Whether a literal block can hold it: a first line that shows the indentation, at most one line feed at the end."""
    printable = all(line.isprintable() and line == line.rstrip(" ") for line in lines)
    return printable and bool(lines[0]) and not lines[0].startswith(" ") and not text.endswith("\n\n")


def _wrapped(text: str) -> list[str]:
    lines: list[str] = []
    for word in text.split(" "):
        if lines and len(lines[-1]) + 1 + len(word) <= WIDTH:
            lines[-1] += f" {word}"
        else:
            lines.append(word)
    return lines
