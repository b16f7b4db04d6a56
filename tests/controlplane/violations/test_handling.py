"""How what is found anew joins what is known."""

from __future__ import annotations

from dataclasses import replace

from controlplane.violations.handling import Incident, Status, join
from controlplane.violations.incidents import QUIET_MS, Found, Kind

FOUND = Found(Kind.OTHER, "shop/web", ("shop/web",), ("shop/cart:80",), 1, 1, 5, 5, 1_000_000, 2_000_000, "it tries")


def test_what_is_new_has_no_number_yet() -> None:
    assert list(join([], [FOUND])) == [Incident(0, FOUND)]


def test_what_is_known_and_did_not_grow_is_not_stored_again() -> None:
    assert list(join([Incident(7, FOUND)], [FOUND])) == []


def test_what_grew_keeps_its_number_and_what_people_did() -> None:
    """Nothing of it shrinks where the new view reaches less far back."""
    known = Incident(7, FOUND, Status.CLOSED, "ann", 5, "ann", "expected")
    later = replace(FOUND, kind=Kind.SCAN, place_count=9, count=3, first_seen_ms=1_900_000, last_seen_ms=3_000_000, why="many")
    grown = replace(later, count=5, first_seen_ms=1_000_000)
    assert list(join([known], [later])) == [replace(known, found=grown)]


def test_another_anchor_or_another_time_is_another_incident() -> None:
    known = [Incident(7, FOUND), Incident(8, replace(FOUND, anchor="shop/api"))]
    begin_ms = FOUND.last_seen_ms + QUIET_MS + 1
    later = replace(FOUND, first_seen_ms=begin_ms, last_seen_ms=begin_ms)
    assert list(join(known, [later])) == [Incident(0, later)]
