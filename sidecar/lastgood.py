"""The configuration that Envoy accepted last, in memory and on disk, so that a sidecar comes up enforcing on its own.

What cannot be read back whole counts as nothing: the sidecar then fails closed. Never decides what is accepted.
"""

from __future__ import annotations

import asyncio
import logging
import struct
import zlib
from collections.abc import Callable, Mapping
from pathlib import Path

import msgspec

from sidecar import segment

#: type URL -> resource name -> the serialised `envoy.service.discovery.v3.Resource`.
Resources = dict[str, dict[str, bytes]]

MAX_FILE_BYTES = 256 * 1024 * 1024
MAX_RESOURCES_OF_A_TYPE = 50_000
MAX_NAME_CHARACTERS = 4096
#: Changes that follow each other closely are written once.
DEBOUNCE_SECONDS = 0.1
RETRY_SECONDS = 5.0
_MAGIC = b"picket-last-good-1\n"
_HEADER = struct.Struct("<IQ")  # CRC-32 of the body, length of the body in bytes
_log = logging.getLogger("picket.lastgood")


class _File(msgspec.Struct, array_like=True):
    owner: str
    resources: dict[str, dict[str, bytes]]


class LastGoodError(Exception):
    """The file cannot be written; the message says why."""


def encode(owner: str, resources: Mapping[str, Mapping[str, bytes]]) -> bytes:
    """The file's content for a node: header with checksum, then the resources."""
    body = msgspec.msgpack.encode((owner, resources))
    return _MAGIC + _HEADER.pack(zlib.crc32(body), len(body)) + body


def decode(content: bytes, owner: str) -> Resources | str:
    """The resources of a node, or why the content is not to be used."""
    start = len(_MAGIC) + _HEADER.size
    if not content.startswith(_MAGIC) or len(content) < start:
        return "not a file of this version"
    checksum, length = _HEADER.unpack_from(content, len(_MAGIC))
    body = memoryview(content)[start:]
    if len(body) != length or zlib.crc32(body) != checksum:
        return "cut off or damaged"
    try:
        file = msgspec.msgpack.decode(body, type=_File)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        return f"unreadable: {error}"
    if file.owner != owner:
        return f"it belongs to {file.owner[:200]!r}, not to {owner!r}"
    for type_url, by_name in file.resources.items():
        if len(by_name) > MAX_RESOURCES_OF_A_TYPE:
            return f"more than {MAX_RESOURCES_OF_A_TYPE} resources of {type_url[:200]}"
    return file.resources


def load(path: Path, owner: str) -> Resources:
    """What was kept for a node; nothing, and a line in the log, when the file is missing, damaged or another node's."""
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            _log.error("configuration on disk ignored file=%s reason=%r", path, f"larger than {MAX_FILE_BYTES} bytes")
            return {}
        found = decode(path.read_bytes(), owner)
    except FileNotFoundError:
        return {}
    except OSError as error:
        _log.error("configuration on disk ignored file=%s reason=%r", path, error.strerror)
        return {}
    if isinstance(found, str):
        _log.error("configuration on disk ignored file=%s reason=%r", path, found)
        return {}
    return found


def save(path: Path, content: bytes) -> None:
    """Replace the file in one step: a crash leaves the old one or the new one, never a part. Blocks until it is on disk.

    Raises:
        LastGoodError: no space, no permission, or too large to be read back.
    """
    if len(content) > MAX_FILE_BYTES:
        raise LastGoodError(f"{path}: {len(content)} bytes of configuration; at most {MAX_FILE_BYTES} are kept")
    try:
        segment.create(path, content)
    except OSError as error:
        raise LastGoodError(f"{path}: cannot be written: {error.strerror}") from error


class Writer:
    """Writes what is kept some moments after it changed, and at the end. A failure is logged and tried again."""

    def __init__(self, path: Path, content: Callable[[], bytes]) -> None:
        self._path = path
        self._content = content
        self._changed = asyncio.Event()
        self._writing = asyncio.Lock()

    def changed(self) -> None:
        """Something is to be written."""
        self._changed.set()

    async def run(self) -> None:
        """Write for ever; cancel it and call `flush` to end."""
        while True:
            await self._changed.wait()
            await asyncio.sleep(DEBOUNCE_SECONDS)
            # A write that has begun is finished: a cancelled one could otherwise overtake the last.
            if not await asyncio.shield(asyncio.ensure_future(self.flush())):
                await asyncio.sleep(RETRY_SECONDS)

    async def flush(self) -> bool:
        """Write now what was not written yet. Whether it is on disk."""
        async with self._writing:
            if not self._changed.is_set():
                return True
            self._changed.clear()
            try:
                await asyncio.to_thread(save, self._path, self._content())
            except LastGoodError as error:
                self._changed.set()
                _log.error("configuration not kept reason=%r", str(error))
                return False
            return True
