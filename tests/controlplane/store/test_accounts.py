"""Users, tokens and the keys of calls: the same on SQLite and PostgreSQL, also for several control planes at once."""

from __future__ import annotations

import threading
from collections.abc import Callable

from controlplane.policy.accounts import AccessToken, Account, Scope
from controlplane.policy.roles import Role
from controlplane.store.sql import SqlStore
from controlplane.store.stored import StoredCall

ANN = Account("ann", Scope(Role.APPROVER, ("shop", "ops")), "$argon2id$...", 5, "owner")
TOKEN = AccessToken(0, "ann", "ci", Scope(Role.VIEWER), "a" * 64, 5, "owner", expires_ms=9)


def test_what_is_stored_is_read_back(store: SqlStore) -> None:
    with store.transaction() as transaction:
        assert transaction.add_account(ANN)
        assert not transaction.add_account(ANN)
        made = transaction.add_access_token(TOKEN)
        other = transaction.add_access_token(AccessToken(0, "ann", "", ANN.scope, "b" * 64, 5, "owner"))
        assert made is not None
        assert other is not None
        assert other.id == 2
        transaction.use_access_token(made.id, 7)
    assert store.account("ann") == ANN
    assert store.accounts() == [ANN]
    assert store.account("bob") is None
    found = store.access_token("a" * 64)
    assert found is not None
    assert (found.id, found.last_used_ms, found.scope, found.expires_ms) == (1, 7, Scope(Role.VIEWER), 9)
    assert [token.id for token in store.access_tokens("ann")] == [2, 1]
    assert store.access_token_by_id(2**70) is None


def test_a_token_is_revoked_once_and_goes_with_its_user(store: SqlStore) -> None:
    with store.transaction() as transaction:
        transaction.add_account(ANN)
        transaction.add_access_token(TOKEN)
        assert transaction.revoke_access_token(1, 8) == "ann"
        assert transaction.revoke_access_token(1, 9) is None
        assert transaction.revoke_access_token(2**70, 9) is None
        assert transaction.set_account_scope("ann", Scope(Role.ADMIN))
        assert not transaction.set_account_password("bob", "x")
    assert store.access_tokens()[0].revoked_ms == 8
    with store.transaction() as transaction:
        assert transaction.remove_account("ann")
        assert not transaction.remove_account("ann")
    assert store.access_tokens() == []


def test_whoever_gets_a_token_while_it_is_removed_has_none_afterwards(opened: Callable[[], SqlStore]) -> None:
    """Else it would let in whoever gets the name next; at two control planes, in whatever order."""
    ours, theirs = opened(), opened()

    def give() -> None:
        together.wait(60)
        with theirs.transaction() as transaction:
            transaction.add_access_token(TOKEN)

    for _ in range(10):
        together = threading.Barrier(2)
        with ours.transaction() as transaction:
            transaction.add_account(ANN)
        giving = threading.Thread(target=give)
        giving.start()
        together.wait(60)
        with ours.transaction() as transaction:
            assert transaction.remove_account("ann")
        giving.join()
        assert ours.access_tokens() == []
    with ours.transaction() as transaction:
        assert transaction.add_access_token(TOKEN) is None


def test_of_several_that_take_one_key_one_gets_it(opened: Callable[[], SqlStore]) -> None:
    stores = [opened(), opened()]
    taken: list[StoredCall | None] = []
    together = threading.Barrier(4)

    def take(store: SqlStore) -> None:
        together.wait(60)
        with store.transaction() as transaction:
            taken.append(transaction.begin_call("ann", "one", "f", 5, 10))

    threads = [threading.Thread(target=take, args=(stores[number % 2],)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(taken, key=str) == sorted([None, *[StoredCall("f")] * 3], key=str)
    with stores[0].transaction() as transaction:
        transaction.end_call("ann", "one", 200, "text/plain", b"done")
        assert transaction.begin_call("ann", "one", "f", 6, 10) == StoredCall("f", 200, "text/plain", b"done")
        transaction.forget_call("ann", "one")
        assert transaction.begin_call("ann", "one", "g", 7, 10) is None
