"""Reads a log in batches of lines, from any line on, and counts what becomes of each record. Knows no format.

A batch ends where the same batch would end if it were read again, so that it can be sent again and count once.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import BinaryIO

from controlplane.flows.imports.model import Imported, Lost, Parser, Record, Unused

MAX_LINE_BYTES = 1024 * 1024
BATCH_LINES = 5_000
#: How much of what was read already is read again to remember the calls in it, when an import goes on.
WARM_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Counts:
    """What became of records: ``lines`` read, ``flows`` found, ``unused`` by reason, and ``lost`` by what the log says.

    A line may hold several records, or none (empty ones, headers).
    """

    lines: int = 0
    flows: int = 0
    lost: int = 0
    unused: Mapping[str, int] = field(default_factory=dict)

    def __add__(self, other: Counts) -> Counts:
        unused = Counter(self.unused)
        unused.update(other.unused)
        return Counts(self.lines + other.lines, self.flows + other.flows, self.lost + other.lost, dict(unused))


@dataclass(frozen=True, slots=True)
class Batch:
    """Some lines: where they begin and end in the file (bytes), what they tell, and how it was counted."""

    start: int
    end: int
    flows: tuple[Imported, ...]
    counts: Counts


def read_lines(file: BinaryIO, start: int, end: int | None = None, *, growing: bool = False) -> Iterator[tuple[int, bytes | None]]:
    """The lines from an offset on, each with where it ends; ``None`` for one that is too long.

    ``end`` is where to stop, whatever was written since; the file's end when left out. Of a ``growing`` log a last line without
    its end is left out: it is still being written.
    """
    file.seek(start)
    offset = start
    while line := _piece(file, offset, end):
        offset += len(line)
        too_long = len(line) > MAX_LINE_BYTES and not line.endswith(b"\n")
        while not line.endswith(b"\n") and (more := _piece(file, offset, end)):
            offset += len(more)
            too_long = too_long or len(line) + len(more) > MAX_LINE_BYTES
            line = more if too_long else line + more
        if growing and not line.endswith(b"\n"):
            return
        yield offset, None if too_long else line.rstrip(b"\r\n")


def _piece(file: BinaryIO, offset: int, end: int | None) -> bytes:
    return file.readline(MAX_LINE_BYTES + 1 if end is None else max(0, min(MAX_LINE_BYTES + 1, end - offset)))


def read_batches(
    file: BinaryIO,
    parser: Parser,
    start: int = 0,
    end: int | None = None,
    *,
    batch_lines: int = BATCH_LINES,
    growing: bool = False,
    warm: bool = True,
) -> Iterator[Batch]:
    """The batches from an offset on, which is where a batch ended or 0.

    ``warm`` has the parser remember the calls just before the offset; a parser that read them itself does already.
    """
    if start and warm:
        _warm(file, parser, start)
    begin = at = start
    lines, records = 0, list[Record]()
    for offset, line in read_lines(file, start, end, growing=growing):
        at = offset
        lines += 1
        if line is None:
            records.append(Unused(f"a line longer than {MAX_LINE_BYTES} bytes"))
        elif line.strip():
            records += parser(line)
        if lines >= batch_lines:
            yield _batch(begin, at, lines, records)
            begin, lines, records = at, 0, []
    if lines:
        yield _batch(begin, at, lines, records)


def _warm(file: BinaryIO, parser: Parser, start: int) -> None:
    """Have the parser remember the calls just before an offset, and count none of them."""
    first = max(0, start - WARM_BYTES)
    if first:
        file.seek(first - 1)
        first += len(file.readline(MAX_LINE_BYTES + 1)) - 1
    for _, line in read_lines(file, first, start):
        if line is not None and line.strip():
            for _ in parser(line):
                pass


def _batch(start: int, end: int, lines: int, records: list[Record]) -> Batch:
    flows = tuple(record for record in records if isinstance(record, Imported))
    unused = Counter(record.reason for record in records if isinstance(record, Unused))
    lost = sum(record.count for record in records if isinstance(record, Lost))
    return Batch(start, end, flows, Counts(lines, len(flows), lost, dict(unused)))
