"""The chain of audit events: whatever is done to a log, its first wrong event is found."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

import msgspec
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from controlplane.policy.audit import AuditEvent, Broken, Chain, Head, Intact, link

TEXTS = st.text(st.characters(codec="utf-8"), max_size=8)
VALUES = st.integers(-(2**53), 2**53) | TEXTS | st.booleans() | st.none() | st.lists(TEXTS, max_size=2)
DETAILS = st.dictionaries(TEXTS, VALUES, max_size=3)
ACTS = st.tuples(st.integers(0, 2**50), TEXTS, TEXTS, TEXTS, DETAILS)


def chained(acts: Iterable[tuple[int, str, str, str, object]]) -> list[AuditEvent]:
    events: list[AuditEvent] = []
    for number, (at_ms, actor, action, subject, detail) in enumerate(acts, 1):
        event = AuditEvent(number, at_ms, actor, action, subject, msgspec.json.encode(detail).decode())
        events.append(replace(event, hash=link(events[-1].hash if events else "", event)))
    return events


def verdict(events: Iterable[AuditEvent], pinned: Head | None = None) -> Intact | Broken:
    chain = Chain(pinned)
    chain.follow(events)
    return chain.verdict()


LOGS = st.lists(ACTS, min_size=1, max_size=6).map(chained)


@given(LOGS, st.data())
def test_a_log_as_it_was_written_is_intact_in_pieces_and_with_any_head_of_it(log: list[AuditEvent], data: st.DataObject) -> None:
    kept = data.draw(st.sampled_from(log))
    chain, cut = Chain(Head(kept.id, kept.hash)), data.draw(st.integers(0, len(log)))
    chain.follow(log[:cut])
    chain.follow(log[cut:])
    assert chain.verdict() == Intact(len(log), Head(log[-1].id, log[-1].hash))
    spaced = [replace(event, detail=msgspec.json.format(event.detail.encode()).decode()) for event in log]
    assert verdict(spaced) == chain.verdict()


def test_an_empty_log_is_intact() -> None:
    assert verdict([]) == Intact(0, None)


@given(LOGS, ACTS, st.data())
def test_a_changed_event_is_found(log: list[AuditEvent], other: tuple[int, str, str, str, object], data: st.DataObject) -> None:
    """Also when its own hash is made anew: then the next one, or the head that was kept, does not fit."""
    index = data.draw(st.integers(0, len(log) - 1))
    (changed,) = chained([other])
    changed = replace(changed, id=log[index].id)
    assume(replace(changed, hash="") != replace(log[index], hash=""))
    assume(msgspec.json.decode(changed.detail) != msgspec.json.decode(log[index].detail) or changed.detail == log[index].detail)
    forged = [*log[:index], replace(changed, hash=log[index].hash), *log[index + 1 :]]
    assert verdict(forged) == Broken(index + 1, "it was changed, or an event before it was changed together with its hash")
    forged[index] = replace(changed, hash=link(log[index - 1].hash if index else "", changed))
    found = verdict(forged, Head(log[-1].id, log[-1].hash))
    assert isinstance(found, Broken)
    assert found.id == min(index + 2, len(log))


@given(LOGS, st.data())
def test_an_event_that_is_missing_or_out_of_place_is_found(log: list[AuditEvent], data: st.DataObject) -> None:
    index = data.draw(st.integers(0, len(log) - 1))
    without = [*log[:index], *log[index + 1 :]]
    found = verdict(without, Head(log[-1].id, log[-1].hash))
    assert isinstance(found, Broken)
    assert found.id == index + 1
    if index:
        swapped = [*log[: index - 1], log[index], log[index - 1], *log[index + 1 :]]
        assert isinstance(verdict(swapped), Broken)
    assert isinstance(verdict([*log[: index + 1], *log[index:]]), Broken)


@given(LOGS)
def test_a_log_that_was_made_anew_does_not_fit_the_head_that_was_kept(log: list[AuditEvent]) -> None:
    again = chained([(event.at_ms + 1, event.actor, event.action, event.subject, {}) for event in log])
    assert isinstance(verdict(again), Intact)
    found = verdict(again, Head(log[-1].id, log[-1].hash))
    assert isinstance(found, Broken)
    assert "made anew" in found.reason


def test_a_detail_that_is_not_json_is_told() -> None:
    (event,) = chained([(1, "ana", "a", "b", {})])
    assert verdict([replace(event, detail="{")]) == Broken(1, "its detail is not JSON")


@given(st.integers(1, 10**18), st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_head_is_read_as_it_is_written(number: int, digest: str) -> None:
    assert Head.parse(str(Head(number, digest))) == Head(number, digest)


@pytest.mark.parametrize("text", ["", "1", "1:abc", "0:" + "a" * 64, "1:" + "A" * 64, "x:" + "a" * 64, "1:" + "a" * 65])
def test_another_text_is_no_head(text: str) -> None:
    with pytest.raises(ValueError, match="is no head"):
        Head.parse(text)
