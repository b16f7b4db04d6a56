"""Reports that wait for their acknowledgement: durable, bounded, in order. Never sends one and never reads the access log.

The place in the log up to which a batch counts (the cursor) is stored in the same record as the batch, so an agent that
dies loses nothing and counts nothing twice. What does not fit is not kept but counted in the next batch's ``lost``: the
sidecar is then blind, not quiet. A number is never given to two different batches of an epoch.
"""

from __future__ import annotations

import asyncio
import logging
import os
from collections import deque
from collections.abc import Sequence
from pathlib import Path

from protos.picket.v1 import telemetry_pb2
from sidecar import segment
from sidecar.batches import batches_of
from sidecar.recovery import SUFFIX, UNKEPT, Recovered, Stored, VersionError, recover, rename

MAX_SPOOL_BYTES = 64 * 1024 * 1024
#: A file that grew to this is not added to any more.
SEGMENT_BYTES = 4 * 1024 * 1024
#: More is not read into memory at once, whatever the limit says.
_MAX_READ_BYTES = 4 * 1024 * 1024
_MAX_LOST = 2**53 - 1
_log = logging.getLogger("picket.spool")


class SpoolError(Exception):
    """The spool cannot be used; the message says what to do."""


class Spool:
    """One spool directory. Lives on one event loop; files are written in a thread, one append at a time."""

    def __init__(self, path: Path, owner: str, instance: str, max_bytes: int, state: Recovered) -> None:
        self.path = path
        self.epoch = state.epoch or os.urandom(16).hex()  # `secrets` would bring OpenSSL into memory
        self.cursor = state.cursor
        self.lost = state.lost  # not reported yet
        self.waiting_bytes = 0
        self._owner = owner
        self._instance = instance
        self._max_bytes = max_bytes
        self._next = state.next_sequence
        self._next_number = state.next_number
        self._acknowledged = state.acknowledged
        self._stored: deque[Stored] = deque()
        self._in_file = dict.fromkeys(state.files, 0)  # records that wait, by file
        self._active: Path | None = None
        self._active_bytes = 0
        self._appending = asyncio.Lock()
        self._tasks: set[asyncio.Task[bool]] = set()
        self._grown = asyncio.Event()
        for stored in state.stored:
            self._add(stored)
        self.acknowledge(self.epoch, self._acknowledged)

    @classmethod
    def open(cls, path: Path, *, instance: str, owner: str = "", max_bytes: int = MAX_SPOOL_BYTES) -> Spool:
        """Open a spool directory, or make it. A damaged file costs what is behind the damage, and is counted as lost.

        Args:
            path: the directory; nothing else may be in it.
            instance: the replica's name, 1 to 128 printable characters. Under another name than before, what waits is numbered
                anew in a new epoch, because sequences count per instance.
            owner: the workload, ``namespace/name``; what another one left here is dropped.
            max_bytes: what may wait, in bytes; the disk holds up to two files of `SEGMENT_BYTES` more.

        Raises:
            SpoolError: the directory or the name cannot be used.
        """
        if not 0 < len(instance) <= 128 or not instance.isprintable():
            raise SpoolError(f"the replica's name {instance[:140]!r} cannot be reported: 1 to 128 printable characters are wanted")
        try:
            path.mkdir(mode=0o700, parents=True, exist_ok=True)
            for unfinished in path.glob("*.new"):
                unfinished.unlink()
            state = recover(path)
            if state.epoch and (state.owner, state.instance) != (owner, instance):
                rename(path, state, owner, instance)
                state = recover(path)
        except VersionError as error:
            raise SpoolError(f"{error}; run that version, or remove {path} and lose the reports that wait in it") from error
        except OSError as error:
            raise SpoolError(
                f"{path}: the spool of reports cannot be opened: {error.strerror}; make it a directory that this user may write"
            ) from error
        return cls(path, owner, instance, max_bytes, state)

    @property
    def last_sequence(self) -> int:
        """The highest number given so far, 0 before the first."""
        return self._next - 1

    @property
    def first_waiting(self) -> int:
        """The lowest sequence that is not acknowledged; one above the last when none waits."""
        return max(self._stored[0].first, self._acknowledged + 1) if self._stored else self._next

    @property
    def waiting_batches(self) -> int:
        """Batches that are not acknowledged."""
        waiting = sum(stored.last - stored.first + 1 for stored in self._stored)
        return waiting - (self.first_waiting - self._stored[0].first if self._stored else 0)

    def after(self, sequence: int, limit: int) -> list[tuple[int, bytes]]:
        """Up to ``limit`` waiting batches above a sequence, in order: (sequence, serialised ``picket.v1.Batch``).

        Batches whose file was damaged under the running agent are given up and counted as lost.
        """
        found: list[tuple[int, bytes]] = []
        size = 0
        above = max(sequence, self._acknowledged)
        for stored in list(self._stored):
            if stored.last <= above:
                continue
            if len(found) >= limit or (found and size + stored.length > _MAX_READ_BYTES):
                break
            bodies = _bodies(stored)
            if not bodies:
                self._drop(stored)
                self.lost += stored.last - stored.first + 1
            found += ((number, body) for number, body in enumerate(bodies, stored.first) if number > above)
            size += stored.length
        return found[:limit]

    def acknowledge(self, epoch: str, sequence: int) -> None:
        """Everything up to this sequence is stored by the control plane; an acknowledgement of anything else is ignored."""
        if epoch != self.epoch or sequence >= self._next:
            _log.warning("acknowledgement of an unknown batch epoch=%.40r sequence=%d", epoch, sequence)
            return
        self._acknowledged = max(self._acknowledged, sequence)
        while self._stored and self._stored[0].last <= self._acknowledged:
            self._drop(self._stored[0])
        self._remove_done()

    async def wait_for(self, sequence: int) -> None:
        """Return when a batch with a higher sequence waits."""
        while not self._stored or self._stored[-1].last <= sequence:
            self._grown.clear()
            await self._grown.wait()

    async def append(
        self, observations: Sequence[telemetry_pb2.Observation], *, lost: int, cursor: bytes, even_empty: bool = False
    ) -> bool:
        """Keep observations as one or more batches, with the place in the log that they reach to; on disk when it returns.

        ``even_empty``: a batch also when there is nothing to tell, as a sign of life.

        Runs to its end also when the caller is cancelled. Returns False when they were not kept but counted as lost.
        """
        task = asyncio.ensure_future(self._append(list(observations), lost, cursor, even_empty=even_empty))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    def close(self) -> None:
        """Note what is acknowledged. Call it when nobody appends any more."""
        if self._active is None:
            return
        entry = segment.encode(segment.Entry(self._next, self._acknowledged, self.cursor, []))
        try:
            segment.append(self._active, self._active_bytes, entry)
        except OSError as error:
            _log.warning("spool not closed properly, acknowledged reports may be sent again reason=%r", error.strerror)
        self._active = None

    async def _append(self, observations: list[telemetry_pb2.Observation], lost: int, cursor: bytes, *, even_empty: bool) -> bool:
        async with self._appending:
            told = self.lost
            bodies = list(
                batches_of(
                    observations,
                    epoch=self.epoch,
                    sequence=self._next,
                    instance=self._instance,
                    lost=min(told + lost, _MAX_LOST),
                    even_empty=even_empty,
                )
            )
            if bodies and self.waiting_bytes + sum(map(len, bodies)) > self._max_bytes:
                _log.warning("spool full, reports are being lost waiting_bytes=%d", self.waiting_bytes)
                await self._not_kept(observations, lost, cursor)
                return False
            try:
                stored = await asyncio.to_thread(self._write, segment.Entry(self._next, self._acknowledged, cursor, bodies))
            except OSError as error:
                _log.error("reports not kept reason=%r", error.strerror)
                self._active = None  # what a failed write left there is not to be built on
                await self._not_kept(observations, lost, cursor)
                return False
            self.cursor = cursor
            self.lost -= told
            self._active, self._active_bytes = stored.path, stored.offset + stored.length
            self._in_file.setdefault(stored.path, 0)
            if bodies:
                self._next = stored.last + 1
                self._add(stored)
                self._grown.set()
            self._remove_done()
            return True

    def _write(self, entry: segment.Entry) -> Stored:
        """Put a record on disk, in the file in use or a new one. Runs in a thread: the loop does the bookkeeping."""
        record = segment.encode(entry)
        last = entry.first_sequence + len(entry.bodies) - 1
        if self._active is not None and self._active_bytes + len(record) <= SEGMENT_BYTES:
            segment.append(self._active, self._active_bytes, record)
            return Stored(entry.first_sequence, last, self._active, self._active_bytes, len(record))
        head = segment.Head(self.epoch, self._owner, self._instance, entry.first_sequence, self._acknowledged)
        start = segment.MAGIC + segment.encode(head)
        path = self.path / f"{self._next_number:012d}{SUFFIX}"
        self._next_number += 1
        segment.create(path, start + record)
        return Stored(entry.first_sequence, last, path, len(start), len(record))

    async def _not_kept(self, observations: Sequence[telemetry_pb2.Observation], lost: int, cursor: bytes) -> None:
        self.lost = min(self.lost + lost + sum(max(1, seen.count) for seen in observations), _MAX_LOST)
        self.cursor = cursor
        if not self.lost:
            return
        unkept = segment.MAGIC + segment.encode(segment.Unkept(self.epoch, self._next - 1, cursor, self.lost))
        try:
            await asyncio.to_thread(segment.create, self.path / UNKEPT, unkept)
        except OSError as error:
            _log.error("the count of lost reports is only in memory lost=%d reason=%r", self.lost, error.strerror)

    def _add(self, stored: Stored) -> None:
        self._stored.append(stored)
        self._in_file[stored.path] += 1
        self.waiting_bytes += stored.length

    def _drop(self, stored: Stored) -> None:
        self._stored.remove(stored)
        self._in_file[stored.path] -= 1
        self.waiting_bytes -= stored.length

    def _remove_done(self) -> None:
        """Remove files of which nothing waits; the newest stays, it knows the epoch and the cursor."""
        newest = next(reversed(self._in_file), None)
        for path in [path for path, waiting in self._in_file.items() if not waiting and path != newest]:
            try:
                path.unlink(missing_ok=True)
            except OSError as error:
                _log.warning("acknowledged reports not removed file=%s reason=%r", path, error.strerror)
            del self._in_file[path]


def _bodies(stored: Stored) -> list[bytes]:
    """The batches of a record; none when it cannot be read any more."""
    try:
        with stored.path.open("rb") as file:
            record = segment.read_record(file, stored.offset, stored.length)
    except OSError as error:
        _log.error("reports cannot be read and are lost file=%s reason=%r", stored.path, error.strerror)
        return []
    if isinstance(record, segment.Entry) and len(record.bodies) == stored.last - stored.first + 1:
        return record.bodies
    _log.error("reports are lost, their file was damaged file=%s", stored.path)
    return []
