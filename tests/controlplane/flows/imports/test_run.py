"""An import that is killed at any moment and begun again stores every record once."""

from __future__ import annotations

import io
from collections.abc import Iterator
from contextlib import suppress

from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports.batches import Batch
from controlplane.flows.imports.formats import FORMATS, HUBBLE
from controlplane.flows.imports.model import Record, Unused
from controlplane.flows.imports.resume import Progress, check_same, dump, fingerprint, load
from controlplane.flows.imports.run import run
from tests.controlplane.flows.imports import samples


class KilledError(Exception):
    """The process ends here."""


class Store:
    """Keeps batches by epoch and number, as the store does, and ends the process when it is told to."""

    def __init__(self) -> None:
        self.kept: dict[tuple[str, int], Batch] = {}
        self.left = 10**9
        self.numbers: list[int] = []

    def store(self, epoch: str, number: int, batch: Batch) -> None:
        self.step()
        self.kept.setdefault((epoch, number), batch)
        self.numbers.append(number)
        self.step()

    def step(self) -> None:
        self.left -= 1
        if self.left < 0:
            raise KilledError


def _parser(line: bytes) -> Iterator[Record]:
    yield Unused(line.decode())


@given(st.lists(st.integers(0, 6), max_size=6), st.integers(1, 30), st.booleans())
def test_killed_anywhere_every_line_counts_once(lives: list[int], lines: int, ended: bool) -> None:
    body = "\n".join(f"line {number}" for number in range(lines)).encode() + (b"\n" if ended else b"")
    store, saved = Store(), ""
    for left in (*lives, 10**9):
        file = io.BytesIO(body)
        progress = load(saved) if saved else Progress(fingerprint(file), "x")
        check_same(progress, file, len(body))
        store.left = left

        def save(made: Progress) -> None:
            nonlocal saved
            store.step()
            saved = dump(made)
            store.step()

        with suppress(KilledError):
            for _ in run(file, _parser, progress, store, save, batch_lines=3):
                pass
    stored = [reason for _, batch in sorted(store.kept.items()) for reason in batch.counts.unused]
    assert sorted(stored) == sorted(f"line {number}" for number in range(lines))
    assert load(saved).counts.lines == lines
    assert sorted(set(store.numbers)) == list(range(1, len(store.kept) + 1))


def test_the_sample_is_stored_whole() -> None:
    file, store = samples.opened(samples.HUBBLE), Store()
    progress = Progress(fingerprint(file), HUBBLE)
    for made in run(file, FORMATS[HUBBLE](None), progress, store, lambda _: None):
        progress = made
    assert (progress.counts.lines, progress.counts.flows, dict(progress.counts.unused)) == (348, 175, {"a reply": 173})
    assert sum(len(batch.flows) for batch in store.kept.values()) == 175
