"""When a step of the rotation is due, and what it waits for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hypothesis import given
from hypothesis import strategies as st

from controlplane.identity.authority import new_authority
from controlplane.identity.generations import Generations, Step, activate, covering, first_generation, key_id, prepare
from controlplane.identity.schedule import Due, Seen, Terms, Waits, due, hindrance

NOW = datetime(2030, 1, 2, 3, 4, 5, tzinfo=UTC)
HOUR, DAY = timedelta(hours=1), timedelta(days=1)
TERMS = Terms(lifetime=365 * DAY, lead=30 * DAY, overlap=DAY)
FIRST = covering(first_generation(new_authority("picket.test", NOW, 365 * DAY)), HOUR)


def prepared(now: datetime = NOW) -> Generations:
    found = prepare(FIRST, now, TERMS.lifetime)
    assert isinstance(found, Generations)
    return found


def active(now: datetime = NOW) -> Generations:
    found = activate(prepared(now), now)
    assert isinstance(found, Generations)
    return found


def test_it_begins_before_the_authority_ends_or_never_by_itself() -> None:
    begins = FIRST.active.certificate.not_valid_after_utc - TERMS.lead
    assert due(FIRST, TERMS, Seen(), begins - HOUR) == Waits(Step.PREPARE, "no rotation is under way", begins)
    assert due(FIRST, TERMS, Seen(), begins) == Due(Step.PREPARE)
    assert due(FIRST, replace(TERMS, lead=timedelta()), Seen(), begins) == Waits(Step.PREPARE, "it is not rotated by itself", None)


def test_the_new_one_signs_once_all_that_are_connected_trust_it_and_files_had_time() -> None:
    assert due(prepared(), TERMS, Seen(3, 0), NOW + TERMS.settle) == Due(Step.ACTIVATE)
    early = due(prepared(), TERMS, Seen(3, 0), NOW)
    assert isinstance(early, Waits)
    assert early.at == NOW + TERMS.settle
    waits = due(prepared(), TERMS, Seen(3, 2), NOW + HOUR)
    assert waits == Waits(Step.ACTIVATE, "connected sidecars that lack the new root: 2 of 3", NOW + TERMS.overlap)


def test_one_sidecar_that_never_takes_it_holds_nothing_up_for_ever() -> None:
    assert due(prepared(), TERMS, Seen(3, 1), NOW + TERMS.overlap) == Due(Step.ACTIVATE)


def test_the_new_one_signs_in_time_before_the_old_one_ends() -> None:
    ends = FIRST.active.certificate.not_valid_after_utc
    late = prepared(ends - 2 * HOUR)
    assert isinstance(due(late, TERMS, Seen(3, 1), ends - 2 * HOUR), Waits)
    assert due(late, TERMS, Seen(3, 1), ends - HOUR) == Due(Step.ACTIVATE)


def test_the_old_root_goes_when_nothing_that_it_signed_is_valid_or_shown() -> None:
    generations = active()
    oldest = generations.old[-1]
    showing = Seen(3, 0, {key_id(oldest.certificate): 1})
    assert due(generations, TERMS, Seen(3, 0), oldest.signed_until) == Due(Step.RETIRE)
    assert isinstance(due(generations, TERMS, Seen(3, 0), oldest.signed_until - HOUR), Waits)
    assert isinstance(due(generations, TERMS, showing, oldest.signed_until), Waits)
    assert due(generations, TERMS, showing, oldest.certificate.not_valid_after_utc) == Due(Step.RETIRE)


def test_what_speaks_against_a_step_that_somebody_asks_for() -> None:
    generations = active()
    assert hindrance(prepared(), Step.ACTIVATE, Seen(2, 0)) == ""
    assert "1 of 2" in hindrance(prepared(), Step.ACTIVATE, Seen(2, 1))
    assert hindrance(generations, Step.RETIRE, Seen(2, 2, {key_id(generations.active.certificate): 2})) == ""
    assert "of the old root: 1" in hindrance(generations, Step.RETIRE, Seen(2, 0, {key_id(generations.old[-1].certificate): 1}))


@given(st.integers(0, 400 * 24), st.integers(0, 3))
def test_whatever_is_waited_for_the_moment_that_was_told_is_not_past(hours: int, outdated: int) -> None:
    now = NOW + hours * HOUR
    for generations in (FIRST, prepared(), active()):
        found = due(generations, TERMS, Seen(3, outdated), now)
        assert isinstance(found, Due) or found.at is None or found.at > now
