"""Batches of lines: every record is counted once, long lines cost no memory, and any batch can be read again."""

from __future__ import annotations

import io
from collections.abc import Iterator

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports import batches as module
from controlplane.flows.imports.batches import MAX_LINE_BYTES, Counts, read_batches, read_lines
from controlplane.flows.imports.formats import FORMATS, HUBBLE
from controlplane.flows.imports.model import Lost, Record, Unused
from tests.controlplane.flows.imports import samples


def _parser(line: bytes) -> Iterator[Record]:
    yield Lost(int(line)) if line.isdigit() else Unused(line.decode("latin-1")[:5])


LINES = st.lists(st.sampled_from([b"a", b"bb", b"", b"7", b"c\r"]), max_size=12)


@given(LINES, st.booleans(), st.integers(1, 5))
def test_every_line_is_in_exactly_one_batch(lines: list[bytes], ended: bool, size: int) -> None:
    body = b"\n".join(lines) + (b"\n" if ended and lines else b"")
    found = list(read_batches(io.BytesIO(body), _parser, batch_lines=size))
    assert [batch.start for batch in found] == [0, *(batch.end for batch in found)][: len(found)]
    assert sum(batch.counts.lines for batch in found) == len(body.splitlines())
    assert all(batch.counts.lines <= size for batch in found)
    assert not found or found[-1].end == len(body)


@given(LINES, st.integers(1, 5), st.data())
def test_a_batch_that_is_read_again_is_the_same(lines: list[bytes], size: int, data: st.DataObject) -> None:
    """Also when the log has grown since, within a line or by whole ones."""
    body = b"\n".join(lines)
    found = list(read_batches(io.BytesIO(body), _parser, batch_lines=size))
    if found:
        batch = data.draw(st.sampled_from(found))
        longer = io.BytesIO(body + data.draw(st.sampled_from([b"", b"more", b"\nmore\n"])))
        assert list(read_batches(longer, _parser, batch.start, batch.end, batch_lines=10**9)) == [batch]


def test_what_becomes_of_records_is_counted() -> None:
    (batch,) = read_batches(io.BytesIO(b"a\na\n\n5\nb\n"), _parser)
    assert batch.counts == Counts(lines=5, flows=0, lost=5, unused={"a": 2, "b": 1})
    assert (batch.counts + batch.counts).unused == {"a": 4, "b": 2}


def test_of_a_growing_log_a_line_without_its_end_waits() -> None:
    assert [line for _, line in read_lines(io.BytesIO(b"a\nb"), 0, growing=True)] == [b"a"]
    assert [line for _, line in read_lines(io.BytesIO(b"a\nb"), 0)] == [b"a", b"b"]


@pytest.mark.parametrize(("length", "kept"), [(MAX_LINE_BYTES, True), (MAX_LINE_BYTES + 1, False), (3 * MAX_LINE_BYTES, False)])
def test_a_line_that_is_too_long_is_counted_and_the_next_one_read(length: int, kept: bool) -> None:
    body = b"x" * length + b"\nnext\n"
    found = list(read_lines(io.BytesIO(body), 0))
    assert [(offset, line is not None) for offset, line in found] == [(length + 1, kept), (len(body), True)]
    (batch,) = read_batches(io.BytesIO(body), _parser)
    assert (f"a line longer than {MAX_LINE_BYTES} bytes" in batch.counts.unused) is not kept


def test_the_hubble_sample_is_counted_in_batches_of_any_size() -> None:
    for size in (1, 7, 1000):
        total = Counts()
        for batch in read_batches(samples.opened(samples.HUBBLE), FORMATS[HUBBLE](None), batch_lines=size):
            total += batch.counts
        assert total == Counts(348, 175, 0, {"a reply": 173})


def test_a_parser_that_goes_on_remembers_what_came_just_before(monkeypatch: pytest.MonkeyPatch) -> None:
    told: list[bytes] = []

    def listening(line: bytes) -> Iterator[Record]:
        told.append(line)
        yield Unused("x")

    body = b"aaaa\nbbbb\ncccc\ndddd\n"
    monkeypatch.setattr(module, "WARM_BYTES", 7)
    (batch,) = read_batches(io.BytesIO(body), listening, 15)
    assert (told, batch.counts.lines) == ([b"cccc", b"dddd"], 1)
    told.clear()
    list(read_batches(io.BytesIO(body), listening, 15, warm=False))
    assert told == [b"dddd"]
