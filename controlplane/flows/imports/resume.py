"""How far an import has come, as text that outlives the process: which log it is, and where to go on. Pure.

The end of a batch is written down before the batch is sent, so that after a crash the very same batch is sent again, under
the same number: whoever stores it counts it once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import BinaryIO

import msgspec

from controlplane.flows.imports.batches import Batch, Counts

#: How much of a log's beginning tells it from others.
FINGERPRINT_BYTES = 64 * 1024


class ResumeError(ValueError):
    """The state is not of this log, or does not read; the message says what to do."""


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """A log by its beginning, which does not change while it grows."""

    length: int
    digest: str


@dataclass(frozen=True, slots=True)
class Progress:
    """What is stored (everything before ``offset``, in ``batches`` batches), and the end of the batch under way.

    ``pending`` is 0 when none is.
    """

    log: Fingerprint
    format: str
    offset: int = 0
    batches: int = 0
    pending: int = 0
    counts: Counts = field(default_factory=Counts)

    @property
    def epoch(self) -> str:
        """The name under which this import's batches are numbered: 32 hexadecimal digits, the same for the same log."""
        return hashlib.sha256(f"{self.log.length} {self.log.digest} {self.format}".encode()).hexdigest()[:32]

    def sending(self, batch: Batch) -> Progress:
        """Before a batch is sent; its number is ``batches`` + 1."""
        return replace(self, pending=batch.end)

    def stored(self, batch: Batch) -> Progress:
        """After a batch was stored."""
        return replace(self, offset=batch.end, batches=self.batches + 1, pending=0, counts=self.counts + batch.counts)


class _Counts(msgspec.Struct, forbid_unknown_fields=True):
    lines: int
    flows: int
    lost: int
    unused: dict[str, int]


class _Progress(msgspec.Struct, forbid_unknown_fields=True):
    length: int
    digest: str
    format: str
    offset: int
    batches: int
    pending: int
    counts: _Counts


def fingerprint(file: BinaryIO, length: int = FINGERPRINT_BYTES) -> Fingerprint:
    """The beginning of a log."""
    file.seek(0)
    beginning = file.read(length)
    return Fingerprint(len(beginning), hashlib.sha256(beginning).hexdigest())


def dump(progress: Progress) -> str:
    """The progress as text."""
    counts = progress.counts
    made = _Progress(
        progress.log.length, progress.log.digest, progress.format, progress.offset, progress.batches, progress.pending,
        _Counts(counts.lines, counts.flows, counts.lost, dict(counts.unused)),
    )  # fmt: skip
    return msgspec.json.encode(made).decode()


def load(text: str | bytes) -> Progress:
    """Read what `dump` wrote.

    Raises:
        ResumeError: another text.
    """
    try:
        read = msgspec.json.decode(text, type=_Progress)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ResumeError(f"the progress of the import does not read: {error}; remove it to begin again") from error
    numbers: Mapping[str, int] = {"offset": read.offset, "batches": read.batches, "pending": read.pending, "length": read.length}
    wrong = next((name for name, number in numbers.items() if not 0 <= number < 2**63), "")
    if wrong or (read.pending and read.pending <= read.offset):
        raise ResumeError(f"the progress of the import has no sense ({wrong or 'pending'}); remove it to begin again")
    counts = Counts(read.counts.lines, read.counts.flows, read.counts.lost, read.counts.unused)
    return Progress(Fingerprint(read.length, read.digest), read.format, read.offset, read.batches, read.pending, counts)


def check_same(progress: Progress, file: BinaryIO, size: int) -> None:
    """Make sure that the progress is of this log.

    Raises:
        ResumeError: the log was replaced or cut.
    """
    if size < max(progress.offset, progress.pending) or fingerprint(file, progress.log.length) != progress.log:
        raise ResumeError("the progress is of another log: this one was replaced or cut since; begin again")
