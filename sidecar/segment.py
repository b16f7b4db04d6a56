"""The files of the spool: checksummed records one after another. Reads and writes them; never decides what is kept.

A file begins with a magic line and a `Head`; `Entry` records follow. A record is written in one piece, so a crash leaves
whole records and at most one part of the last, which counts as never written.
"""

from __future__ import annotations

import contextlib
import os
import struct
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

import msgspec

MAGIC = b"picket-spool-1\n"
#: A record is a header and a body. The length has a checksum of its own: a damaged one must not pass for a torn record.
_CHECKSUMS = struct.Struct("<II")  # CRC-32 of the length, CRC-32 of the body
_LENGTH = struct.Struct("<I")  # of the body, in bytes
_HEADER_BYTES = _CHECKSUMS.size + _LENGTH.size


class Head(msgspec.Struct, array_like=True, tag="head", frozen=True, gc=False):
    """Whose reports a file holds, and which sequence comes next: a higher one in an earlier file was never kept."""

    epoch: str
    owner: str
    instance: str
    next_sequence: int
    acknowledged: int


class Entry(msgspec.Struct, array_like=True, tag="entry", frozen=True, gc=False):
    """Batches that were added together, numbered from ``first_sequence``, and the caller's cursor after them."""

    first_sequence: int
    acknowledged: int
    cursor: bytes
    bodies: list[bytes]


class Unkept(msgspec.Struct, array_like=True, tag="unkept", frozen=True, gc=False):
    """What was not kept since the batch ``after_sequence``, and the cursor after it."""

    epoch: str
    after_sequence: int
    cursor: bytes
    lost: int


Record = Head | Entry | Unkept
_decoder = msgspec.msgpack.Decoder(Record)


@dataclass(frozen=True, slots=True)
class Found:
    """A record and where it is, checksum included: ``offset`` and ``length`` in bytes."""

    record: Record
    offset: int
    length: int


@dataclass(frozen=True, slots=True)
class Rest:
    """Bytes at the end that are no record. ``torn``: a write that a crash cut off, so nobody has ever seen it."""

    size: int
    torn: bool


def encode(record: Record) -> bytes:
    """A record with its checksum."""
    body = msgspec.msgpack.encode(record)
    return _header(body) + body


def read_file(path: Path) -> Iterator[Found | Rest]:
    """The records of a file; the last item is a `Rest` when something behind them is not one.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as file:
        size = os.fstat(file.fileno()).st_size
        if file.read(len(MAGIC)) != MAGIC:
            yield Rest(size, torn=False)
            return
        while (offset := file.tell()) < size:
            found = _read(file, size)
            if found is None:
                file.seek(offset)
                yield Rest(size - offset, torn=_is_torn(file, size))
                return
            yield found


def read_record(file: BinaryIO, offset: int, length: int) -> Record | None:
    """The record at a place that `Found` named; ``None`` when it changed since.

    Raises:
        OSError: the file cannot be read.
    """
    file.seek(offset)
    found = _read(file, offset + length)
    return None if found is None else found.record


def _header(body: bytes) -> bytes:
    length = _LENGTH.pack(len(body))
    return _CHECKSUMS.pack(zlib.crc32(length), zlib.crc32(body)) + length


def _body_length(header: bytes) -> int | None:
    """What a header says, ``None`` when it is cut off or damaged."""
    if len(header) < _HEADER_BYTES:
        return None
    length = header[_CHECKSUMS.size :]
    return int(_LENGTH.unpack(length)[0]) if zlib.crc32(length) == _CHECKSUMS.unpack_from(header)[0] else None


def _read(file: BinaryIO, end: int) -> Found | None:
    offset = file.tell()
    header = file.read(_HEADER_BYTES)
    length = _body_length(header)
    if length is None or file.tell() + length > end:
        return None
    body = file.read(length)
    if len(body) != length or zlib.crc32(body) != _CHECKSUMS.unpack_from(header)[1]:
        return None
    try:
        return Found(_decoder.decode(body), offset, _HEADER_BYTES + length)
    except (msgspec.DecodeError, UnicodeDecodeError):
        return None


def _is_torn(file: BinaryIO, end: int) -> bool:
    """Whether the file ends within this record, or was made longer without the bytes being written (a power cut)."""
    start = file.tell()
    header = file.read(_HEADER_BYTES)
    length = _body_length(header)
    if len(header) < _HEADER_BYTES or (length is not None and file.tell() + length > end):
        return True
    file.seek(start)
    while piece := file.read(65536):
        if piece.count(0) != len(piece):
            return False
    return True


def create(path: Path, content: bytes) -> int:
    """Put a file there in one step and on disk, for its user only; return its size. A file of that name is replaced.

    What a crash left of an earlier try is no part of it, nor is a link that somebody left in its place written through.

    Raises:
        OSError: no space, no permission.
    """
    temporary = path.with_name(path.name + ".new")
    temporary.unlink(missing_ok=True)
    handle = os.open(temporary, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError:
        with contextlib.suppress(OSError):
            temporary.unlink()
        raise
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
    return len(content)


def append(path: Path, size: int, content: bytes) -> int:
    """Add records behind the first ``size`` bytes, on disk; return the new size.

    Raises:
        OSError: no space, no permission, or the file is gone; use no more of it than ``size`` bytes.
    """
    handle = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
    with os.fdopen(handle, "wb") as file:
        file.truncate(size)
        file.seek(size)
        file.write(content)
        file.flush()
        os.fdatasync(file.fileno())
    return size + len(content)
