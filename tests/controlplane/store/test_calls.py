"""Calls that are done once, in each kind of database: a key is taken once, and its oldest go."""

from __future__ import annotations

from controlplane.store.sql import SqlStore
from controlplane.store.stored import StoredCall


def begun(store: SqlStore, actor: str, key: str, *, now_ms: int = 1, keep: int = 9) -> StoredCall | None:
    with store.transaction() as transaction:
        return transaction.begin_call(actor, key, "asks", now_ms, keep)


def test_a_key_is_taken_once_by_each_caller(store: SqlStore) -> None:
    assert begun(store, "ana", "k1") is None
    assert begun(store, "ben", "k1") is None
    assert begun(store, "ana", "k1") == StoredCall("asks", None, "", None)


def test_how_it_ended_is_kept_until_it_is_given_back(store: SqlStore) -> None:
    begun(store, "ana", "k1")
    with store.transaction() as transaction:
        transaction.end_call("ana", "k1", 200, "application/json", b"{}")
    assert begun(store, "ana", "k1") == StoredCall("asks", 200, "application/json", b"{}")
    with store.transaction() as transaction:
        transaction.forget_call("ana", "k1")
    assert begun(store, "ana", "k1") is None


def test_only_the_newest_of_a_caller_are_kept(store: SqlStore) -> None:
    for number in range(4):
        assert begun(store, "ana", f"k{number}", now_ms=number, keep=2) is None
    assert begun(store, "ana", "k0", now_ms=9) is None
    assert begun(store, "ana", "k3", now_ms=9) is not None
