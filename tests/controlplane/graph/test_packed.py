"""Evidence and watches as bytes: they come back as they were, and other bytes are refused."""

from __future__ import annotations

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from controlplane.graph.evidence import DAY_MS, HOUR_MS, Evidence
from controlplane.graph.packed import pack_evidence, pack_watch, unpack_evidence, unpack_watch
from controlplane.graph.watch import Watch

START_MS = 1_699_833_600_000
HOURS = st.integers(0, 5_000)
USES = st.lists(st.tuples(HOURS, st.sampled_from(["", "10.0.0.1", "10.0.0.2"]), st.integers(0, 40)), min_size=1, max_size=40)
REPORTS = st.lists(st.tuples(HOURS, st.integers(0, 9), st.sampled_from(["", "cart-0/a", "cart-1/b"])), max_size=40)


def evidence_of(uses: list[tuple[int, str, int]]) -> Evidence:
    made: Evidence | None = None
    for hour, replica, user in uses:
        at_ms = START_MS + hour * HOUR_MS
        if made is None:
            made = Evidence(1, at_ms, at_ms)
        else:
            made.see(1, at_ms, at_ms)
        if replica:
            made.came_from(replica)
            made.ran(f"sha256:{replica}", at_ms, at_ms)
        made.asked_for([str(user)])
    assert made is not None
    return made


def watch_of(reports: list[tuple[int, int, str]]) -> Watch:
    made = Watch()
    for hour, lost, start in reports:
        made.hear(START_MS + hour * HOUR_MS, lost)
        if start:
            made.start(start, START_MS + hour * HOUR_MS)
    return made


@given(USES)
def test_evidence_comes_back(uses: list[tuple[int, str, int]]) -> None:
    made = evidence_of(uses)
    assert unpack_evidence(pack_evidence(made), made.count, made.first_seen_ms, made.last_seen_ms) == made


@given(USES)
def test_evidence_comes_back_also_when_its_times_went_on(uses: list[tuple[int, str, int]]) -> None:
    """The times are kept beside it: another use in the same hour of a later day is merged by whoever stores it."""
    made = evidence_of(uses)
    later = unpack_evidence(pack_evidence(made), made.count, made.first_seen_ms, made.last_seen_ms + DAY_MS)
    made.see(0, made.last_seen_ms + DAY_MS, made.last_seen_ms + DAY_MS)
    assert later == made


@given(REPORTS)
def test_a_watch_comes_back(reports: list[tuple[int, int, str]]) -> None:
    made = watch_of(reports)
    assert unpack_watch(pack_watch(made)) == made


@given(USES, USES)
def test_what_evidence_holds_would_change_nothing_of_it(
    first: list[tuple[int, str, int]], second: list[tuple[int, str, int]]
) -> None:
    """But for the count and the times, which are summed up elsewhere."""
    mine, other = evidence_of(first), evidence_of(second)
    held = mine.holds(other)
    before = pack_evidence(mine)
    mine.merge(other)
    assert held == (pack_evidence(mine) == before)


@given(REPORTS, REPORTS)
def test_what_a_watch_holds_says_nothing_new(first: list[tuple[int, int, str]], second: list[tuple[int, int, str]]) -> None:
    mine, other = watch_of(first), watch_of(second)
    hours, lost, starts = list(mine.watched_hours()), mine.lost, mine.starts
    if mine.holds(other):
        mine.merge(other)
        assert (list(mine.watched_hours()), mine.lost, mine.starts) == (hours, lost, starts)


@pytest.mark.parametrize("packed", [b"", b"\x00", b"[]", msgspec.msgpack.encode([1, 2])])
def test_other_bytes_are_refused(packed: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        unpack_evidence(packed, 1, 1, 1)
    with pytest.raises(msgspec.DecodeError):
        unpack_watch(packed)
