"""Incidents are found in what is stored, keep their numbers, and what people do about them is written down."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from controlplane.policy.rules import Mode
from controlplane.violations.handling import Status
from controlplane.violations.incidents import Kind
from controlplane.workflow.incidents import Incidents
from controlplane.workflow.revisions import Done, Refused, Why
from tests.harness.plane import GET_CART, PAY, REDIS, Plane
from tests.harness.plane import plane as make_plane

NOW_MS = 100 * 3_600_000


@pytest.fixture
def plane() -> Iterator[Plane]:
    with make_plane() as made:
        made.now_ms = NOW_MS
        yield made


@pytest.fixture
def incidents(plane: Plane) -> Incidents:
    return Incidents(plane.store, plane.publisher, lambda: plane.now_ms)


def test_an_incident_grows_under_its_number(plane: Plane, incidents: Incidents) -> None:
    assert incidents.look() == ()
    plane.violate(PAY, seen_ms=NOW_MS - 5_000)
    (first,) = incidents.look()
    assert (first.id, first.found.kind, first.found.count) == (1, Kind.OTHER, 1)
    assert incidents.look() == ()
    for port in range(1, 9):
        plane.violate(PAY._replace(port=port), seen_ms=NOW_MS - 1_000)
    (grown,) = incidents.look()
    assert (grown.id, grown.found.kind, grown.found.place_count) == (1, Kind.SCAN, 9)
    assert list(plane.store.incidents(9, is_open=True)) == [grown]


def test_what_a_change_of_mode_broke_is_laid_to_it(plane: Plane, incidents: Incidents) -> None:
    plane.learn(PAY, seen_ms=500)
    plane.now_ms = NOW_MS - 60_000
    (pay,) = (name for name in plane.publisher.topology.services if str(name) == PAY.destination)
    plane.review.modes.change([pay], Mode.ENFORCE, "ann")
    plane.now_ms = NOW_MS
    plane.violate(PAY, seen_ms=NOW_MS - 30_000)
    (found,) = incidents.look()
    assert (found.found.kind, "30 s after mode enforce" in found.found.why) == (Kind.MISCONFIGURATION, True)


def test_an_old_client_is_told_from_a_new_one(plane: Plane, incidents: Incidents) -> None:
    plane.learn(PAY, seen_ms=500)
    plane.violate(PAY, seen_ms=NOW_MS - 2_000)
    plane.violate(REDIS, seen_ms=NOW_MS - 1_000)
    assert [found.found.kind for found in incidents.look()] == [Kind.STALE_CLIENT, Kind.OTHER]


def test_people_handle_it_and_all_of_it_is_audited(plane: Plane, incidents: Incidents) -> None:
    plane.violate(PAY, seen_ms=NOW_MS - 5_000)
    incidents.look()
    for done in (
        incidents.assign(1, " ann ", "bob"),
        incidents.note(1, "asked the team", "ann"),
        incidents.close(1, "expected", "ann"),
        incidents.reopen(1, "it was not", "bob"),
        incidents.assign(1, "", "bob"),
    ):
        assert isinstance(done, Done)
    assert [(note.actor, note.action, note.text) for note in plane.store.notes(1, 9)] == [
        ("bob", "assign", "ann"), ("ann", "note", "asked the team"), ("ann", "close", "expected"),
        ("bob", "reopen", "it was not"), ("bob", "assign", ""),
    ]  # fmt: skip
    actions = [event.action for event in plane.store.audit(5)]
    assert actions == ["incident:assign", "incident:reopen", "incident:close", "incident:note", "incident:assign"]
    (incident,) = plane.store.incidents(9, is_open=True)
    assert (incident.status, incident.assignee, incident.closed_by) == (Status.OPEN, "", "")


def test_what_cannot_be_is_refused(plane: Plane, incidents: Incidents) -> None:
    plane.violate(PAY, seen_ms=NOW_MS - 5_000)
    incidents.look()
    incidents.close(1, "expected", "ann")
    for outcome, why in (
        (incidents.close(1, "again", "ann"), Why.CONFLICT),
        (incidents.close(1, " ", "ann"), Why.INVALID),
        (incidents.note(1, "", "ann"), Why.INVALID),
        (incidents.note(2, "text", "ann"), Why.MISSING),
    ):
        assert isinstance(outcome, Refused)
        assert outcome.why is why
    assert plane.store.incidents(9, is_open=True) == []


def test_a_closed_incident_that_goes_on_stays_closed(plane: Plane, incidents: Incidents) -> None:
    plane.violate(PAY, seen_ms=NOW_MS - 5_000)
    incidents.look()
    incidents.close(1, "expected", "ann")
    plane.violate(PAY._replace(path="/more"), seen_ms=NOW_MS - 1_000)
    (same,) = incidents.look()
    assert (same.id, same.status, same.found.last_seen_ms) == (1, Status.CLOSED, NOW_MS - 1_000)


def test_the_reach_of_a_source_is_by_approved_edges(plane: Plane, incidents: Incidents) -> None:
    plane.learn(GET_CART, REDIS)
    proposal = plane.review.refresh_proposal()
    assert proposal is not None
    plane.review.approve(proposal.number, "ann", "")
    plane.violate(PAY, seen_ms=NOW_MS - 5_000)
    (incident,) = incidents.look()
    (reached,) = incidents.reach(incident)
    assert (reached.source, dict(reached.services)) == ("default/frontend", {"shop/cart": 1, "shop/redis": 2})


def test_a_quarantine_ends_in_the_mode_before(plane: Plane) -> None:
    modes = plane.review.modes
    (pay,) = (name for name in plane.publisher.topology.services if str(name) == PAY.destination)
    assert isinstance(modes.release(pay, "ann"), Refused)
    for before in (Mode.AUDIT, None):
        if before is not None:
            modes.change([pay], before, "ann")
        plane.now_ms += 1
        modes.change([pay], Mode.QUARANTINE, "ann")
        plane.now_ms += 1
        assert modes.release(pay, "bob") == Done(f"{pay} is back in mode audit")
        assert plane.publisher.policy.mode(pay) is Mode.AUDIT
