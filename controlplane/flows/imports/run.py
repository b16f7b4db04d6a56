"""Runs an import: batch by batch, each stored before the next, its progress kept so that a crash costs and doubles nothing.

Where batches go, and where progress is kept, is the caller's.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import BinaryIO, Protocol

from controlplane.flows.imports.batches import BATCH_LINES, Batch, read_batches
from controlplane.flows.imports.model import Parser
from controlplane.flows.imports.resume import Progress

#: More lines than any batch has: a batch that is sent again is read whole, whatever the size was.
_WHOLE = 2**62


class Sink(Protocol):
    """Stores batches: one with the same epoch and number counts once, however often it comes."""

    def store(self, epoch: str, number: int, batch: Batch) -> None:
        """Return when it is stored."""


def run(
    file: BinaryIO,
    parser: Parser,
    progress: Progress,
    sink: Sink,
    save: Callable[[Progress], None],
    *,
    growing: bool = False,
    batch_lines: int = BATCH_LINES,
) -> Iterator[Progress]:
    """Import what is left of a log; yields the progress after each batch.

    ``save`` returns when the progress is on disk.
    """
    warm = not progress.pending
    if progress.pending:
        for batch in read_batches(file, parser, progress.offset, progress.pending, batch_lines=_WHOLE):
            sink.store(progress.epoch, progress.batches + 1, batch)
            progress = progress.stored(batch)
            save(progress)
            yield progress
    for batch in read_batches(file, parser, progress.offset, growing=growing, batch_lines=batch_lines, warm=warm):
        save(progress.sending(batch))
        sink.store(progress.epoch, progress.batches + 1, batch)
        progress = progress.stored(batch)
        save(progress)
        yield progress
