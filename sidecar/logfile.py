"""Follows Envoy's access log and cuts it before it fills the disk. Never looks into a line.

A cut renames the file and has Envoy open it anew; the renamed one is read to its end, and removed once what was read is
kept. Envoy closes the old file before it makes the new one, so a new file means that the old one is whole. The directory
belongs to Envoy's user: what is no plain file there is not opened.
"""

from __future__ import annotations

import logging
import os
import stat
import zlib
from dataclasses import dataclass
from pathlib import Path

import msgspec

READ_BYTES = 256 * 1024
MAX_LINE_BYTES = 1024 * 1024
#: The log is cut when it has grown to this.
CUT_BYTES = 32 * 1024 * 1024
CUT_SUFFIX = ".cut"
#: A file is known again by its beginning too: the inode of a removed file may be given to another.
_HEAD_BYTES = 256
_log = logging.getLogger("picket.accesslog")


class Position(msgspec.Struct, array_like=True, frozen=True):
    """A place in a log file: inode, bytes from the start, and a checksum of the first ``head_bytes`` of the file."""

    inode: int
    offset: int
    head_bytes: int
    head: int


@dataclass(frozen=True, slots=True)
class Chunk:
    """Whole lines, and how many are missing before them: too long, cut off, or in a file that went away or cannot be read."""

    lines: bytes = b""
    lost: int = 0


class LogFile:
    """One access log, read on from where an earlier life ended."""

    def __init__(self, path: Path, *, resume: Position | None = None, cut_bytes: int = CUT_BYTES) -> None:
        """Follow the file at a path, which need not be there yet."""
        self._path = path
        self._cut = path.with_name(path.name + CUT_SUFFIX)
        self._cut_bytes = cut_bytes
        self._resume = resume
        self._handle: int | None = None
        self._inode = 0
        self._offset = 0
        self._is_skipping = False  # within a line that is too long
        self._refused = ""
        self._unread = 0  # refusals that are not told as a loss yet

    @property
    def position(self) -> Position | None:
        """Up to where lines were read; where an earlier life ended as long as there is no file."""
        if self._handle is None:
            return self._resume
        head = os.pread(self._handle, min(_HEAD_BYTES, self._offset), 0)
        return Position(self._inode, self._offset, len(head), zlib.crc32(head))

    @property
    def place(self) -> tuple[int, int]:
        """The position without its checksum: it changes whenever something was read."""
        return self._inode, self._offset

    @property
    def is_due(self) -> bool:
        """Whether the file has grown so far that it is to be cut."""
        return self._offset >= self._cut_bytes and _inode_at(self._path) == self._inode and _inode_at(self._cut) is None

    @property
    def wants_reopening(self) -> bool:
        """Whether Envoy still writes into a file that has no name of its own any more."""
        return self._handle is not None and _inode_at(self._path) is None

    def cut(self) -> None:
        """Put the file aside; Envoy is to be told to open it anew.

        Raises:
            OSError: it cannot be renamed.
        """
        self._path.replace(self._cut)

    def kept(self, position: Position) -> None:
        """Everything before a position is kept elsewhere: a cut file that the position is behind is removed."""
        inode = _inode_at(self._cut)
        if inode is not None and inode != position.inode:
            self._cut.unlink(missing_ok=True)

    def read(self) -> Chunk:
        """The next whole lines; an empty chunk when there are none yet.

        Raises:
            OSError: the file cannot be read.
        """
        chunk = self._read()
        unread, self._unread = self._unread, 0
        return Chunk(chunk.lines, chunk.lost + unread) if unread else chunk

    def _read(self) -> Chunk:
        if self._handle is None:
            return self._begin()
        if data := self._next():
            return self._whole(data)
        if os.fstat(self._handle).st_size < self._offset:
            _log.warning("access log was truncated, lines may be missing file=%s", self._path)
            self._offset = 0
            return Chunk(lost=1)
        if _inode_at(self._path) in {None, self._inode}:
            return Chunk()
        # Envoy writes to another file now. What it wrote here before that is read first.
        return self._whole(data) if (data := self._next()) else self._follow()

    def end(self) -> Chunk:
        """Give up a line that is not whole: whoever wrote it has ended."""
        if self._handle is None:
            return Chunk()
        size = os.fstat(self._handle).st_size
        lost = int(size > self._offset or self._is_skipping)
        self._offset, self._is_skipping = max(size, self._offset), False
        return Chunk(lost=lost)

    def close(self) -> None:
        """Let go of the file."""
        if self._handle is not None:
            os.close(self._handle)
            self._handle = None

    def _next(self) -> bytes:
        """Bytes up to the last end of a line; a line that is too long comes without its end, and is skipped."""
        assert self._handle is not None
        for size in (READ_BYTES, MAX_LINE_BYTES):
            data = os.pread(self._handle, size, self._offset)
            end = data.rfind(b"\n") + 1
            if end:
                return data[:end]
            if len(data) < size:
                return b""
        self._is_skipping = True
        return data

    def _whole(self, data: bytes) -> Chunk:
        self._offset += len(data)
        if not self._is_skipping:
            return Chunk(data)
        start = data.find(b"\n") + 1
        if not start:
            return Chunk()
        self._is_skipping = False
        return Chunk(data[start:], lost=1)

    def _begin(self) -> Chunk:
        """Open the file in which the last life ended, or the oldest there is."""
        resume = self._resume
        opened = [(path, handle) for path in (self._cut, self._path) if (handle := self._open(path)) is not None]
        chosen = next((item for item in opened if resume is not None and _is_at(item[1], resume)), None)
        if chosen is not None and resume is not None:
            lost, self._offset = 0, resume.offset
        elif opened:
            chosen, lost, self._offset = opened[0], int(resume is not None), 0
        else:
            return Chunk()
        for _path, handle in opened:
            if handle != chosen[1]:
                os.close(handle)
        if lost:
            _log.warning("access log is not the one that was read before, lines may be missing file=%s", self._path)
        self._handle, self._inode = chosen[1], os.fstat(chosen[1]).st_ino
        if chosen[0] == self._path:
            self._cut.unlink(missing_ok=True)
        return Chunk(lost=lost)

    def _follow(self) -> Chunk:
        """Go on with the file that Envoy made."""
        handle = self._open(self._path)
        if handle is None:
            return Chunk()
        ended = self.end()
        self.close()
        self._handle, self._inode, self._offset = handle, os.fstat(handle).st_ino, 0
        return ended

    def _open(self, path: Path) -> int | None:
        try:
            handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        except OSError as error:
            self._refuse(path, error.strerror or "cannot be opened")
            return None
        if stat.S_ISREG(os.fstat(handle).st_mode):
            self._refused = ""
            return handle
        os.close(handle)
        self._refuse(path, "not a plain file")
        return None

    def _refuse(self, path: Path, reason: str) -> None:
        """Say it once, not at every look; what is written there meanwhile is lost."""
        if self._refused != (said := f"{path}: {reason}"):
            self._refused = said
            self._unread += 1
            _log.error("access log is not read file=%s reason=%r", path, reason)


def _inode_at(path: Path) -> int | None:
    try:
        return os.lstat(path).st_ino
    except FileNotFoundError:
        return None


def _is_at(handle: int, position: Position) -> bool:
    found = os.fstat(handle)
    if found.st_ino != position.inode or found.st_size < position.offset:
        return False
    return zlib.crc32(os.pread(handle, position.head_bytes, 0)) == position.head
