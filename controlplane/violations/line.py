"""The query line of the violation log, read and written: ``from:shop/cart verdict:denied since:24h path:/x* "free text"``. Pure.

Terms stand side by side and all have to hold; commas part alternatives, ``*`` stands for any text, and ``-`` before a term turns it
round. What is no ``field:value`` is sought in all texts. Values with blanks, commas or quotes stand in double quotes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

from controlplane.violations.query import Field, Query, Term

MAX_LENGTH = 4_000
MAX_TERMS = 30
MAX_VALUES = 20
MAX_VALUE_LENGTH = 300
VERDICTS = ("denied", "would-deny")
_SINCE, _UNTIL = "since", "until"
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SPAN = re.compile(r"([0-9]{1,6})(s|m|h|d|w)")
_UNIT_MS = {"s": 1_000, "m": 60_000, "h": 3_600_000, "d": 86_400_000, "w": 7 * 86_400_000}
_NUMBER = re.compile(r"[0-9]{1,15}")
#: A text that needs no quotes as a value.
_PLAIN = re.compile(r'[^\s",\\]+')
#: What a term begins with.
_HEAD = re.compile(r"(?P<no>-?)(?:(?P<field>[A-Za-z][A-Za-z0-9_-]*):)?")


@dataclass(frozen=True, slots=True)
class BadQuery:
    """A line that does not read: what is wrong, from which character on (counted from 1), and what to write."""

    what: str
    at: int
    remedy: str

    @property
    def text(self) -> str:
        """In words."""
        return f"character {self.at}: {self.what}"


class _BadError(Exception):
    """Ends reading; never leaves this file."""

    def __init__(self, what: str, at: int, remedy: str) -> None:
        super().__init__(what)
        self.bad = BadQuery(what, at + 1, remedy)


def parse(line: str, now_ms: int) -> Query | BadQuery:
    """Read a line; spans such as ``since:24h`` count back from ``now_ms`` (Unix milliseconds)."""
    if len(line) > MAX_LENGTH:
        return BadQuery(f"the query is longer than {MAX_LENGTH} characters", MAX_LENGTH + 1, "take a part of it away")
    try:
        return _query(line, now_ms)
    except _BadError as error:
        return error.bad


def write(query: Query) -> str:
    """The line of a query; times are written as such (UTC)."""
    parts = []
    for term in query.terms:
        name = "" if term.field is Field.TEXT else f"{term.field}:"
        sign = "-" if term.excludes else ""
        parts.append(f"{sign}{name}{','.join(quoted(value, free=not name) for value in term.values)}")
    parts += [f"{word}:{_moment(at_ms)}" for word, at_ms in ((_SINCE, query.since_ms), (_UNTIL, query.until_ms)) if at_ms]
    return " ".join(parts)


def quoted(value: str, *, free: bool = False) -> str:
    """A value as the line takes it; ``free`` stands without a field, and must not look as if it had one."""
    if _PLAIN.fullmatch(value) and not (free and (":" in value or value.startswith("-"))):
        return value
    escaped = value.replace("\\", "\\\\").replace('"', '\\"')
    return f'"{escaped}"'


def _query(line: str, now_ms: int) -> Query:
    terms: list[Term] = []
    times: dict[str, int] = {}
    for number, (at, excludes, name, values) in enumerate(_items(line)):
        if number >= MAX_TERMS:
            raise _BadError(f"there are more than {MAX_TERMS} terms", at, "take some away")
        if name in {_SINCE, _UNTIL}:
            if excludes or len(values) > 1 or name in times:
                raise _BadError(f"{name} is there once, with one time", at, f"write {name}:24h")
            times[name] = _time(name, values[0], now_ms)
        else:
            terms.append(_term(name, values, at, excludes=excludes))
    since_ms, until_ms = times.get(_SINCE, 0), times.get(_UNTIL, 0)
    if until_ms and until_ms <= since_ms:
        raise _BadError("until is not after since", 0, "write until:1h for an hour ago, or a later time")
    return Query(tuple(terms), since_ms, until_ms)


_Value = tuple[int, str]


def _items(line: str) -> Iterator[tuple[int, bool, str, list[_Value]]]:
    """Where each term begins, whether it excludes, its field's name in lower case (empty for text), and its values."""
    at = 0
    while (at := _past_blanks(line, at)) < len(line):
        begin = at
        head = _HEAD.match(line, at)
        assert head is not None  # it matches the empty text
        excludes, name, at = bool(head["no"]), (head["field"] or "").lower(), head.end()
        values: list[_Value] = []
        while True:
            value, after = _value(line, at, name)
            values.append((at, value))
            if len(values) > MAX_VALUES:
                raise _BadError(f"a term has more than {MAX_VALUES} values", at, "write two queries")
            if line[after : after + 1] != ",":
                break
            at = after + 1
        if after < len(line) and not line[after].isspace():
            raise _BadError("a quote stands within a word", after, 'put quotes around the whole value: path:"/a b"')
        yield begin, excludes, name, values
        at = after


def _past_blanks(line: str, at: int) -> int:
    while at < len(line) and line[at].isspace():
        at += 1
    return at


def _value(line: str, at: int, name: str) -> tuple[str, int]:
    """The value that begins there, and where it ends."""
    if line[at : at + 1] == '"':
        return _quoted_value(line, at)
    found = _PLAIN.match(line, at)
    if found is None:
        what = f"{name}: has no value" if name else "a value is missing"
        raise _BadError(what, at, 'write field:value, or "..." around a value with blanks, commas, quotes or backslashes')
    return _checked(found[0], at), found.end()


def _quoted_value(line: str, at: int) -> tuple[str, int]:
    read, here = [], at + 1
    while here < len(line) and line[here] != '"':
        if line[here] == "\\":
            here += 1
            if line[here : here + 1] not in {'"', "\\"}:
                raise _BadError("a backslash stands before no quote and no backslash", here - 1, "write \\\\ for one")
        read.append(line[here])
        here += 1
    if here >= len(line):
        raise _BadError("a quote is not closed", at, 'write " at the end of the value')
    if not read:
        raise _BadError("a value is empty", at, "write what is sought, or take the term away")
    return _checked("".join(read), at), here + 1


def _checked(value: str, at: int) -> str:
    if len(value) > MAX_VALUE_LENGTH:
        raise _BadError(f"a value is longer than {MAX_VALUE_LENGTH} characters", at, "shorten it, with * for the rest")
    if any(not char.isprintable() for char in value):
        raise _BadError("a value holds a character that cannot be printed", at, "write * in its place")
    return value


def _term(name: str, values: list[_Value], at: int, *, excludes: bool) -> Term:
    if not name:
        return Term(Field.TEXT, tuple(value for _, value in values), excludes)
    try:
        field = Field(name)
    except ValueError:
        known = ", ".join([*Field, _SINCE, _UNTIL])
        remedy = f"fields are {known}; to seek the text, put it in double quotes"
        raise _BadError(f"there is no field {name[:40]}", at, remedy) from None
    read = tuple(_read(field, value, where) for where, value in values)
    return Term(field, read, excludes)


def _read(field: Field, value: str, at: int) -> str:
    match field:
        case Field.VERDICT if value not in VERDICTS:
            raise _BadError(f"{value[:40]} is no verdict of a violation", at, f"write verdict:{' or verdict:'.join(VERDICTS)}")
        case Field.PORT if not (_NUMBER.fullmatch(value) and 1 <= int(value) <= 65_535):
            raise _BadError(f"{value[:40]} is no port", at, "write a number from 1 to 65535")
        case Field.REVISION if not _NUMBER.fullmatch(value.removeprefix("r")):
            raise _BadError(f"{value[:40]} is no revision", at, "write a number, such as revision:7")
        case Field.PORT | Field.REVISION:
            return str(int(value.removeprefix("r")))
        case Field.DENY_ID:
            # The line takes a deny ID as it stands in the log: "deny:shop/cart@r7" is this field with the rest of it.
            return value.removeprefix("deny:")
        case _:
            return value


def _time(name: str, given: _Value, now_ms: int) -> int:
    """A span back from now, or a time (UTC where it names no zone), in Unix milliseconds."""
    at, value = given
    if (found := _SPAN.fullmatch(value)) is not None:
        return max(1, now_ms - int(found[1]) * _UNIT_MS[found[2]])
    remedy = f"write {name}:90s, {name}:10m, {name}:24h, {name}:7d, or a time such as {name}:2026-05-31T14:00"
    try:
        moment = datetime.fromisoformat(value)
        moment = moment if moment.tzinfo is not None else moment.replace(tzinfo=UTC)
        at_ms = (moment - _EPOCH) // timedelta(milliseconds=1)
    except (ValueError, OverflowError):
        raise _BadError(f"{value[:40]} is no time", at, remedy) from None
    if at_ms <= 0:
        raise _BadError(f"{value[:40]} is before 1970", at, remedy)
    return at_ms


def _moment(at_ms: int) -> str:
    return (_EPOCH + timedelta(milliseconds=at_ms)).isoformat(timespec="milliseconds").replace("+00:00", "Z")
