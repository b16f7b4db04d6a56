"""What a spool directory still holds after a stop or a crash, and how it goes on under another name. Never sends a report."""

from __future__ import annotations

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from protos.picket.v1 import telemetry_pb2
from sidecar import segment

SUFFIX = ".spool"
UNKEPT = "unkept"
_log = logging.getLogger("picket.spool")


class VersionError(Exception):
    """A file was written by another version of the agent."""


@dataclass(frozen=True, slots=True)
class Stored:
    """Where the batches ``first`` to ``last`` are: one record of a file, in bytes."""

    first: int
    last: int
    path: Path
    offset: int
    length: int


@dataclass(slots=True)
class Recovered:
    """The state of a spool. ``epoch`` is empty for a new one; ``stored`` may hold acknowledged batches."""

    epoch: str = ""
    owner: str = ""
    instance: str = ""
    next_sequence: int = 1
    acknowledged: int = 0
    cursor: bytes = b""
    lost: int = 0
    next_number: int = 1
    stored: list[Stored] = field(default_factory=list)
    files: list[Path] = field(default_factory=list)


def recover(directory: Path) -> Recovered:
    """Read a spool directory. What is damaged counts as lost; a record that a crash cut off was never there.

    Raises:
        OSError: a file cannot be read.
        VersionError: a file of another version is there.
    """
    state = Recovered()
    for path in sorted(directory.glob(f"*{SUFFIX}")):
        _read(path, state)
    _read_unkept(directory / UNKEPT, state)
    return state


def _read(path: Path, state: Recovered) -> None:
    state.files.append(path)
    if path.stem.isascii() and path.stem.isdigit():
        state.next_number = max(state.next_number, int(path.stem) + 1)
    records = segment.read_file(path)
    first = next(records, None)
    if not isinstance(first, segment.Found) or not isinstance(first.record, segment.Head):
        _check_version(path)
        _damaged(path, path.stat().st_size, state)
        return
    _begin(first.record, state)
    for found in records:
        if isinstance(found, segment.Rest):
            if not found.torn:
                _damaged(path, found.size, state)
        elif isinstance(found.record, segment.Entry):
            _take(path, found, found.record, state)


def _begin(head: segment.Head, state: Recovered) -> None:
    """A file of another epoch was being replaced; entries that a later file numbers again were never kept."""
    if head.epoch != state.epoch:
        state.epoch, state.owner, state.instance = head.epoch, head.owner, head.instance
        state.stored.clear()
        state.next_sequence, state.acknowledged, state.lost = head.next_sequence, 0, 0
    state.acknowledged = max(state.acknowledged, head.acknowledged)
    state.stored[:] = [stored for stored in state.stored if stored.last < head.next_sequence]
    state.next_sequence = head.next_sequence


def _take(path: Path, found: segment.Found, entry: segment.Entry, state: Recovered) -> None:
    state.cursor = entry.cursor
    state.acknowledged = max(state.acknowledged, entry.acknowledged)
    if entry.bodies:
        last = entry.first_sequence + len(entry.bodies) - 1
        state.stored.append(Stored(entry.first_sequence, last, path, found.offset, found.length))
        state.next_sequence = last + 1
        state.lost = 0  # the first of these batches told it


def _damaged(path: Path, size: int, state: Recovered) -> None:
    """No number that the damaged bytes can have used is given again: the control plane would take it for a replay."""
    _log.error("spool damaged, reports in it are lost file=%s bytes=%d", path, size)
    state.next_sequence += size
    state.lost += 1


def _check_version(path: Path) -> None:
    with path.open("rb") as file:
        magic = file.read(len(segment.MAGIC))
    family = segment.MAGIC.rpartition(b"-")[0] + b"-"
    if magic.startswith(family) and magic != segment.MAGIC:
        raise VersionError(f"{path} was written by another version of the agent")


def _read_unkept(path: Path, state: Recovered) -> None:
    try:
        found: Sequence[segment.Found | segment.Rest] = list(segment.read_file(path))
    except FileNotFoundError:
        return
    record = found[0].record if found and isinstance(found[0], segment.Found) else None
    if isinstance(record, segment.Unkept) and record.epoch == state.epoch and record.after_sequence == state.next_sequence - 1:
        state.cursor = record.cursor
        state.lost = max(state.lost, record.lost)


def rename(directory: Path, state: Recovered, owner: str, instance: str) -> None:
    """Number what waits anew, in a new epoch, under another instance's name: sequences count per instance.

    What another owner reported is dropped: the control plane takes nobody's reports from somebody else.

    Raises:
        OSError: no space, no permission.
    """
    if owner != state.owner:
        _log.warning("reports of another workload are dropped owner=%.130r records=%d", state.owner, len(state.stored))
        state.stored.clear()
        state.lost = 0
    epoch = os.urandom(16).hex()
    batches = []
    for stored in state.stored:
        with stored.path.open("rb") as file:
            record = segment.read_record(file, stored.offset, stored.length)
        if isinstance(record, segment.Entry):
            waiting = record.bodies[max(0, state.acknowledged + 1 - stored.first) :]
            batches += [telemetry_pb2.Batch.FromString(body) for body in waiting]
    if state.lost and not batches:
        batches.append(telemetry_pb2.Batch())
    for sequence, batch in enumerate(batches, 1):
        batch.epoch, batch.sequence, batch.instance = epoch, sequence, instance
    if state.lost:
        batches[0].lost += state.lost
    records: list[segment.Record] = [segment.Head(epoch, owner, instance, 1, 0)]
    records += (segment.Entry(n, 0, state.cursor, [batch.SerializeToString()]) for n, batch in enumerate(batches, 1))
    records.append(segment.Entry(len(batches) + 1, 0, state.cursor, []))
    content = segment.MAGIC + b"".join(map(segment.encode, records))
    segment.create(directory / f"{state.next_number:012d}{SUFFIX}", content)
    for path in state.files:
        path.unlink(missing_ok=True)
