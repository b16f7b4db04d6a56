"""Incidents are kept as they were stored, on SQLite and PostgreSQL."""

from __future__ import annotations

from dataclasses import replace

from controlplane.flows.model import EdgeKey, Flow, Verdict
from controlplane.store.sql import SqlStore
from controlplane.store.stored import Prunable
from controlplane.violations.handling import Incident, Note, Status
from controlplane.violations.incidents import Found, Kind

FOUND = Found(Kind.SCAN, "shop/web", ("shop/web", "ip:10.0.0.9"), ("shop/cart:80",), 2, 9, 2**40, 5, 1_000, 2_000, "it tries")


def test_incidents_are_found_again_newest_first(store: SqlStore) -> None:
    with store.transaction() as transaction:
        first = transaction.add_incident(Incident(0, FOUND))
        second = transaction.add_incident(Incident(0, replace(FOUND, last_seen_ms=3_000)))
        assert list(transaction.lock_incidents(2_500)) == [second]
    assert (first.id, second.id) == (1, 2)
    assert list(store.incidents(9, is_open=True)) == [second, first]
    assert list(store.incidents(9, 2, is_open=False)) == [first]
    assert store.incident(1) == first
    assert store.incident(3) is None
    assert store.incident(2**70) is None


def test_what_is_found_and_what_is_done_do_not_meet(store: SqlStore) -> None:
    """Whoever handles an incident that somebody else handled meanwhile is told so."""
    with store.transaction() as transaction:
        incident = transaction.add_incident(Incident(0, FOUND))
    closed = replace(incident, status=Status.CLOSED, closed_ms=7, closed_by="ann", close_reason="expected")
    grown = replace(FOUND, count=6, last_seen_ms=9_000)
    with store.transaction() as transaction:
        assert transaction.handle_incident(incident, closed)
        transaction.grow_incident(1, grown)
        assert not transaction.handle_incident(incident, replace(incident, assignee="bob"))
    assert store.incident(1) == replace(closed, found=grown)
    assert store.incidents(9, is_open=True) == []


def test_notes_are_kept_in_their_order(store: SqlStore) -> None:
    notes = [Note(1, 5, "ann", "note", "first"), Note(1, 5, "bob", "close", "then"), Note(2, 6, "ann", "note", "elsewhere")]
    with store.transaction() as transaction:
        for note in notes:
            transaction.add_note(note)
    assert list(store.notes(1, 9)) == notes[:2]
    assert list(store.notes(1, 1)) == notes[1:2]


def test_incidents_are_removed_by_age_with_their_notes(store: SqlStore) -> None:
    with store.transaction() as transaction:
        for number, last_seen_ms in ((1, 2_000), (2, 9_000)):
            transaction.add_incident(Incident(0, replace(FOUND, last_seen_ms=last_seen_ms)))
            transaction.add_note(Note(number, 5, "ann", "note", "text"))
    assert [store.prune(Prunable.INCIDENTS, 5_000, 9) for _ in range(2)] == [1, 0]
    assert [incident.id for incident in store.incidents(9, is_open=False)] == [2]
    assert (len(store.notes(1, 9)), len(store.notes(2, 9))) == (0, 1)


def test_the_first_use_of_edges_is_known_by_source(store: SqlStore) -> None:
    edge = EdgeKey("shop/web", "shop/cart", 80, "http", "GET", "/a")
    flows = [
        Flow(one, Verdict.ALLOWED, "shop/cart", "in", 1, at_ms, at_ms)
        for one, at_ms in ((edge, 500), (edge._replace(path="/b"), 300), (edge._replace(source="shop/api"), 100))
    ]
    with store.transaction() as transaction:
        transaction.record_batch("shop/cart", "cart-0", "a" * 32, 1, flows, 0, 600)
    assert store.first_uses(["shop/web", "shop/nobody"]) == {("shop/web", "shop/cart", 80): 300}
