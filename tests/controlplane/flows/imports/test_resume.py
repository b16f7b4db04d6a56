"""The progress of an import survives as text, and is never taken for that of another log."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.flows.imports.batches import Batch, Counts
from controlplane.flows.imports.resume import Fingerprint, Progress, ResumeError, check_same, dump, fingerprint, load

_NUMBERS = st.integers(0, 9)
COUNTS = st.builds(Counts, _NUMBERS, _NUMBERS, _NUMBERS, st.dictionaries(st.text(max_size=5), st.integers(1, 9)))


@st.composite
def progresses(draw: st.DrawFn) -> Progress:
    offset = draw(st.integers(0, 99))
    pending = draw(st.just(0) | st.integers(offset + 1, offset + 99))
    log = Fingerprint(draw(st.integers(0, 99)), draw(st.text(max_size=5)))
    return Progress(log, draw(st.text(max_size=5)), offset, draw(st.integers(0, 9)), pending, draw(COUNTS))


@given(progresses())
def test_it_is_read_as_it_was_written(progress: Progress) -> None:
    assert load(dump(progress)) == progress


@pytest.mark.parametrize("change", [{"offset": -1}, {"pending": 5, "offset": 9}, {"x": 1}, {"digest": 5}, {"batches": 2**70}])
def test_another_text_is_refused(change: dict[str, object]) -> None:
    text = json.dumps({**json.loads(dump(Progress(Fingerprint(1, "d"), "hubble", 7, 1))), **change})
    with pytest.raises(ResumeError, match="remove it to begin again"):
        load(text)


@given(st.binary(max_size=60))
def test_any_bytes_are_refused_or_read(body: bytes) -> None:
    with pytest.raises(ResumeError):
        load(body)


def test_a_batch_is_pending_until_it_is_stored() -> None:
    batch = Batch(0, 40, (), Counts(3))
    start = Progress(Fingerprint(10, "d"), "hubble")
    sending = start.sending(batch)
    assert (sending.offset, sending.pending, sending.batches) == (0, 40, 0)
    stored = sending.stored(batch)
    assert (stored.offset, stored.pending, stored.batches, stored.counts.lines) == (40, 0, 1, 3)


def test_the_same_log_has_the_same_epoch_also_when_it_grows() -> None:
    body = io.BytesIO(b"0123456789")
    first = Progress(fingerprint(body, 5), "hubble")
    again = Progress(fingerprint(io.BytesIO(b"0123456789 and more"), 5), "hubble")
    assert first.epoch == again.epoch
    assert len(first.epoch) == 32
    assert set(first.epoch) <= set("0123456789abcdef")
    assert Progress(fingerprint(body, 6), "hubble").epoch != first.epoch
    assert Progress(fingerprint(body, 5), "istio-json").epoch != first.epoch


@pytest.mark.parametrize(
    ("body", "same"), [(b"0123456789", True), (b"0123456789 more", True), (b"012345678", False), (b"X123456789", False)]
)
def test_a_log_that_was_replaced_or_cut_is_another(body: bytes, same: bool) -> None:
    progress = Progress(fingerprint(io.BytesIO(b"0123456789"), 5), "hubble", offset=10)
    if same:
        check_same(progress, io.BytesIO(body), len(body))
    else:
        with pytest.raises(ResumeError, match="begin again"):
            check_same(progress, io.BytesIO(body), len(body))
