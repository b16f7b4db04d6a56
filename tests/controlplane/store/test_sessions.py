"""Sessions of the console and sign-ins under way, in each kind of database: as they were begun, bounded, and taken once."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

import pytest

from controlplane.policy.accounts import Caller, Scope
from controlplane.policy.roles import Role
from controlplane.store.sql import SqlStore
from controlplane.store.stored import BegunSignIn, StoredSession

ANN = Caller("ann@example.org", Scope(Role.APPROVER, ("shop", "ops")), "oidc:7c")
BEN = Caller("ben", Scope(Role.VIEWER), "password:1f")


def begin(store: SqlStore, *sessions: StoredSession, keep: int = 9) -> None:
    with store.transaction() as transaction:
        for session in sessions:
            transaction.begin_session(session, keep)


def test_what_the_owner_came_in_by_is_kept(store: SqlStore) -> None:
    begin(store, StoredSession("h1", None, 5, 90, "1f"), StoredSession("h2", BEN, 5, 90))
    assert store.session("h1") == StoredSession("h1", None, 5, 90, "1f")
    assert store.session("h2") == StoredSession("h2", BEN, 5, 90)


@pytest.mark.parametrize("user", [None, ANN, BEN])
def test_a_session_is_found_by_another_control_plane_until_it_ends(opened: Callable[[], SqlStore], user: Caller | None) -> None:
    session = StoredSession("h1", user, 5, 90)
    here, there = opened(), opened()
    begin(here, session)
    assert there.session("h1") == session
    assert there.session("h2") is None
    with there.transaction() as transaction:
        transaction.end_session("h1")
        transaction.end_session("h1")
    assert here.session("h1") is None


def test_those_that_are_over_go_and_the_oldest_of_too_many(store: SqlStore) -> None:
    begin(store, *(StoredSession(f"h{number}", None, number, 50) for number in range(4)), keep=3)
    assert [store.session(f"h{number}") is not None for number in range(4)] == [False, True, True, True]
    begin(store, StoredSession("late", None, 50, 99), keep=3)
    assert [name for name in ("h1", "h2", "h3", "late") if store.session(name) is not None] == ["late"]


def test_of_many_that_take_a_sign_in_at_once_one_gets_it(opened: Callable[[], SqlStore]) -> None:
    begun = BegunSignIn("state", "browser", 1, 9)
    stores = [opened() for _ in range(4)]
    with stores[0].transaction() as transaction:
        transaction.begin_sign_in(begun, 9)

    def take(store: SqlStore) -> BegunSignIn | None:
        with store.transaction() as transaction:
            return transaction.take_sign_in("state")

    with ThreadPoolExecutor(4) as threads:
        taken = list(threads.map(take, stores))
    assert sorted(taken, key=str) == sorted([begun, None, None, None], key=str)
