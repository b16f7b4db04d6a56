"""Local users: one set for all control planes on a database, with passwords and tokens of which only hashes are kept."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from controlplane.policy.accounts import Caller, Scope
from controlplane.policy.approvals import Approval
from controlplane.policy.roles import Role
from controlplane.store.sql import SqlStore, open_store
from controlplane.workflow.accounts import MAX_TOKENS_EACH, USE_NOTED_MS, Accounts, NewToken, Slow
from controlplane.workflow.attempts import MAX_BY_ADDRESS, MAX_BY_BOTH, WINDOW_MS, Attempts
from controlplane.workflow.revisions import Done, Refused, Why
from tests.controlplane.workflow.conftest import Clock

PASSWORD = "correct horse battery"
VIEWER = Scope(Role.VIEWER)


@pytest.fixture
def accounts(store: SqlStore, clock: Clock) -> Accounts:
    made = Accounts(store, clock)
    assert isinstance(made.create("ann", Scope(Role.APPROVER, ("shop",)), PASSWORD, "owner"), Done)
    return made


def secret_of(accounts: Accounts, scope: Scope | None = None, days: int | None = None) -> tuple[int, str]:
    made = accounts.new_token("ann", "ci", scope, days, "owner")
    assert isinstance(made, NewToken)
    return made.token.id, made.secret


def test_a_password_lets_in_with_what_the_user_may_do(accounts: Accounts) -> None:
    caller = accounts.sign_in("ann", PASSWORD, "10.0.0.1")
    assert isinstance(caller, Caller)
    assert (caller.name, caller.scope) == ("ann", Scope(Role.APPROVER, ("shop",)))


def test_no_password_and_no_user_are_answered_alike(accounts: Accounts) -> None:
    accounts.create("robot", VIEWER, "", "owner")
    for name, password in (("ann", "wrong"), ("nobody", PASSWORD), ("robot", ""), ("robot", "nobody has this password"), ("", "")):
        assert accounts.sign_in(name, password, "10.0.0.1") is None


def test_a_user_that_is_not_there_costs_a_hash_too(accounts: Accounts, monkeypatch: pytest.MonkeyPatch) -> None:
    """What takes the time is counted, and not the time: that depends on the machine."""
    verified: list[str] = []
    hasher = accounts._passwords._hasher
    real: Callable[[str, str], bool] = hasher.verify

    class Counting:
        hash = hasher.hash

        @staticmethod
        def verify(stored: str, password: str) -> bool:
            verified.append(stored.split("$")[3])
            return real(stored, password)

    monkeypatch.setattr(accounts._passwords, "_hasher", Counting)
    accounts.sign_in("nobody", "wrong", "10.0.0.1")
    accounts.sign_in("ann", "wrong", "10.0.0.1")
    assert verified == [verified[0]] * 2


def test_neither_password_nor_token_is_in_the_database(accounts: Accounts, tmp_path: Path) -> None:
    _, secret = secret_of(accounts)
    kept = b"".join(file.read_bytes() for file in tmp_path.glob("picket.db*"))
    assert PASSWORD.encode() not in kept
    assert secret.encode() not in kept
    assert b"$argon2id$" in kept


def test_another_control_plane_has_the_same_users(accounts: Accounts, tmp_path: Path, clock: Clock) -> None:
    number, secret = secret_of(accounts)
    other = open_store(f"sqlite:///{tmp_path}/picket.db")
    try:
        elsewhere = Accounts(other, clock)
        assert elsewhere.caller(secret) is not None
        assert isinstance(elsewhere.sign_in("ann", PASSWORD, ""), Caller)
        elsewhere.revoke_token(number, "owner")
    finally:
        other.close()
    assert accounts.caller(secret) is None


def test_a_token_may_what_both_it_and_its_user_may(accounts: Accounts) -> None:
    _, secret = secret_of(accounts, Scope(Role.ADMIN, ("shop", "ops")))
    caller = accounts.caller(secret)
    assert caller is not None
    assert caller.scope == Scope(Role.APPROVER, ("shop",))


def test_a_token_ends_with_its_days(accounts: Accounts, clock: Clock) -> None:
    _, secret = secret_of(accounts, days=1)
    clock.now_ms += 86_400_000 - 1
    assert accounts.caller(secret) is not None
    clock.now_ms += 1
    assert accounts.caller(secret) is None


def test_a_tokens_last_use_is_written_down_now_and_then(accounts: Accounts, store: SqlStore, clock: Clock) -> None:
    _, secret = secret_of(accounts)
    accounts.caller(secret)
    first_ms = clock.now_ms
    clock.now_ms += USE_NOTED_MS - 1
    accounts.caller(secret)
    assert store.access_tokens("ann")[0].last_used_ms == first_ms
    clock.now_ms += 1
    accounts.caller(secret)
    assert store.access_tokens("ann")[0].last_used_ms == clock.now_ms


def test_what_somebody_came_in_by_is_asked_again(accounts: Accounts) -> None:
    number, secret = secret_of(accounts)
    by_token, by_password = accounts.caller(secret), accounts.sign_in("ann", PASSWORD, "")
    assert by_token is not None
    assert isinstance(by_password, Caller)
    assert accounts.still(by_token) == by_token
    accounts.set_scope("ann", VIEWER, "owner")
    now = accounts.still(by_password)
    assert now is not None
    assert now.scope == VIEWER
    accounts.set_password("ann", PASSWORD, "owner")
    assert accounts.still(by_password) is None
    accounts.revoke_token(number, "owner")
    assert accounts.still(by_token) is None


def test_a_removed_user_leaves_nothing_that_lets_in(accounts: Accounts) -> None:
    _, secret = secret_of(accounts)
    by_password = accounts.sign_in("ann", PASSWORD, "")
    assert isinstance(by_password, Caller)
    accounts.remove("ann", "owner")
    assert accounts.caller(secret) is None
    assert accounts.still(by_password) is None
    accounts.create("ann", VIEWER, "", "owner")
    assert accounts.caller(secret) is None


@pytest.mark.parametrize("password", ["short", "x" * 201, "ann ann ann a", "aaaaaaaaaaaaaaa"])
def test_a_password_that_is_easy_to_guess_is_refused(accounts: Accounts, password: str) -> None:
    outcome = accounts.set_password("ann", password, "owner")
    assert isinstance(outcome, Refused)
    assert outcome.why is Why.INVALID


@pytest.mark.parametrize("namespaces", [(), ("",), ("a b",), ("x",) * 201])
def test_a_scope_that_is_none_is_refused(accounts: Accounts, namespaces: tuple[str, ...]) -> None:
    assert isinstance(accounts.create("bob", Scope(Role.VIEWER, namespaces), "", "owner"), Refused)


def test_a_name_is_taken_once_and_tokens_are_bounded(accounts: Accounts) -> None:
    assert isinstance(accounts.create("ann", VIEWER, "", "owner"), Refused)
    for _ in range(MAX_TOKENS_EACH):
        secret_of(accounts)
    assert isinstance(accounts.new_token("ann", "", None, None, "owner"), Refused)


def test_every_change_is_written_down_and_no_secret_is(accounts: Accounts, store: SqlStore) -> None:
    number, secret = secret_of(accounts)
    accounts.set_password("ann", "another long password", "owner")
    accounts.set_scope("ann", VIEWER, "owner")
    accounts.revoke_token(number, "owner")
    accounts.remove("ann", "owner")
    events = store.audit(10)
    assert [event.action for event in reversed(events)] == [
        "user:create", "access-token:create", "user:password", "user:scope", "access-token:revoke", "user:revoke",
    ]  # fmt: skip
    assert all(secret not in event.detail and 'password":"' not in event.detail for event in events)


def test_failures_slow_an_account_down_whether_or_not_it_exists(accounts: Accounts, clock: Clock) -> None:
    for name in ("ann", "nobody"):
        for _ in range(MAX_BY_BOTH):
            assert accounts.sign_in(name, "wrong", f"10.0.0.{len(name)}") is None
        assert accounts.sign_in(name, PASSWORD, f"10.0.0.{len(name)}") == Slow()
    assert isinstance(accounts.sign_in("ann", PASSWORD, "10.9.9.9"), Caller), "another address is not slowed down"
    clock.now_ms += WINDOW_MS
    assert isinstance(accounts.sign_in("ann", PASSWORD, "10.0.0.3"), Caller)


def test_an_address_that_tries_many_names_is_slowed_down(clock: Clock) -> None:
    attempts = Attempts(clock)
    for number in range(MAX_BY_ADDRESS):
        assert attempts.may_try("10.0.0.1", f"name{number}")
        attempts.failed("10.0.0.1", f"name{number}")
    assert not attempts.may_try("10.0.0.1", "other")
    assert attempts.may_try("10.0.0.2", "other")


@pytest.mark.parametrize("act", ["remove", "set_scope"])
def test_whose_word_has_changed_has_agreed_to_nothing(accounts: Accounts, store: SqlStore, act: str) -> None:
    with store.transaction() as transaction:
        transaction.add_approvals([Approval("q", "ann", 1_000), Approval("q", "ben", 1_000)])
    assert isinstance(accounts.remove("ann", "owner") if act == "remove" else accounts.set_scope("ann", VIEWER, "owner"), Done)
    assert [approval.actor for approval in store.approvals(["q"], 0)] == ["ben"]
