"""Local users and their access tokens: making them, taking them away, and finding out who calls. Never keeps a secret.

Every control plane on the same database has the same users; what is revoked by one is out at once at all.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace

from controlplane.identity.tokens import token_hash
from controlplane.policy.accounts import AccessToken, Account, Caller, Scope, check_name, check_namespaces
from controlplane.store.interface import Store
from controlplane.workflow.attempts import Attempts
from controlplane.workflow.passwords import Passwords, check_password
from controlplane.workflow.revisions import Done, Refused, Why, as_json

PREFIX = "picket-access-"
MAX_ACCOUNTS = 10_000
MAX_TOKENS_EACH = 100
MAX_LIFETIME_DAYS = 3_650
#: The last use of a token is written down this seldom.
USE_NOTED_MS = 60_000
_DAY_MS = 86_400_000


@dataclass(frozen=True, slots=True)
class NewToken:
    """A token that was made; ``secret`` is shown this once."""

    token: AccessToken
    secret: str


@dataclass(frozen=True, slots=True)
class Slow:
    """Too many sign-ins failed of late: nothing was looked at."""


class Accounts:
    """The writer of users and tokens, and the judge of who calls."""

    def __init__(self, store: Store, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._clock_ms = clock_ms
        self._passwords = Passwords()
        self.attempts = Attempts(clock_ms)

    # -- who calls ----------------------------------------------------------------------------------------------------

    def caller(self, secret: str) -> Caller | None:
        """Whose token it is, if it lets in now."""
        found = self._store.access_token(token_hash(secret)) if secret else None
        return None if found is None else self._by_token(found)

    def sign_in(self, name: str, password: str, address: str) -> Caller | Slow | None:
        """Who signs in by a password; ``None`` when name or password are wrong, and nothing tells which."""
        if not self.attempts.may_try(address, name):
            return Slow()
        account = self._store.account(name)
        if not self._passwords.is_right(account.password if account is not None else "", password) or account is None:
            self.attempts.failed(address, name)
            return None
        return Caller(account.name, account.scope, f"password:{_mark(account)}")

    def still(self, caller: Caller) -> Caller | None:
        """The caller with the scope of now; ``None`` when what it came in by holds no more."""
        kind, _, proof = caller.proof.partition(":")
        if kind == "oidc":
            return caller
        if kind == "token":
            found = self._store.access_token_by_id(int(proof))
            return None if found is None else self._by_token(found)
        account = self._store.account(caller.name)
        if account is None or not account.password or proof != _mark(account):
            return None
        return replace(caller, scope=account.scope)

    def _by_token(self, token: AccessToken) -> Caller | None:
        now_ms = self._clock_ms()
        account = self._store.account(token.account)
        if account is None or not token.is_good(now_ms):
            return None
        if now_ms - (token.last_used_ms or 0) >= USE_NOTED_MS:
            with self._store.transaction() as transaction:
                transaction.use_access_token(token.id, now_ms)
        return Caller(account.name, token.scope.within(account.scope), f"token:{token.id}")

    # -- what admins do -----------------------------------------------------------------------------------------------

    def create(self, name: str, scope: Scope, password: str, actor: str) -> Done | Refused:
        """Make a user; without a password, one that signs in by tokens alone."""
        reason = check_name(name) or check_namespaces(scope.namespaces) or (check_password(name, password) if password else "")
        if reason:
            return Refused(reason, Why.INVALID)
        now_ms = self._clock_ms()
        account = Account(name, scope, self._passwords.hash(password) if password else "", now_ms, actor)
        detail = _told(scope) | {"password": bool(password)}
        with self._store.transaction() as transaction:
            if len(self._store.accounts()) >= MAX_ACCOUNTS:
                return Refused(f"there are {MAX_ACCOUNTS} users already", Why.CONFLICT)
            if not transaction.add_account(account):
                return Refused(f"there is a user {name} already", Why.CONFLICT)
            transaction.add_audit(actor, "user:create", name, as_json(detail), now_ms)
        return Done(f"{name} is {_words(scope)}")

    def set_scope(self, name: str, scope: Scope, actor: str) -> Done | Refused:
        """Give a user another role or other namespaces; its tokens may do no more than that from now on.

        What it agreed to and others still have to is forgotten, as when it is taken away: it may not be its to decide any more.
        """
        if reason := check_namespaces(scope.namespaces):
            return Refused(reason, Why.INVALID)
        with self._store.transaction() as transaction:
            if not transaction.set_account_scope(name, scope):
                return _nobody(name)
            transaction.drop_approvals_by(name)
            transaction.add_audit(actor, "user:scope", name, as_json(_told(scope)), self._clock_ms())
        return Done(f"{name} is {_words(scope)}")

    def set_password(self, name: str, password: str, actor: str) -> Done | Refused:
        """Set a user's password; whoever is signed in by the one before is out."""
        if reason := check_password(name, password):
            return Refused(reason, Why.INVALID)
        hashed = self._passwords.hash(password)
        with self._store.transaction() as transaction:
            if not transaction.set_account_password(name, hashed):
                return _nobody(name)
            transaction.add_audit(actor, "user:password", name, "{}", self._clock_ms())
        return Done(f"{name} has a new password")

    def remove(self, name: str, actor: str) -> Done | Refused:
        """Take a user away, with its tokens."""
        with self._store.transaction() as transaction:
            if not transaction.remove_account(name):
                return _nobody(name)
            transaction.drop_approvals_by(name)
            transaction.add_audit(actor, "user:revoke", name, "{}", self._clock_ms())
        return Done(f"{name} is out")

    def new_token(self, name: str, label: str, scope: Scope | None, days: int | None, actor: str) -> NewToken | Refused:
        """Make a token of a user, for so many days or (``None``) without end; without a scope, with all that the user may do."""
        if days is not None and not 1 <= days <= MAX_LIFETIME_DAYS:
            return Refused(f"a token is good for 1 to {MAX_LIFETIME_DAYS} days", Why.INVALID)
        if scope is not None and (reason := check_namespaces(scope.namespaces)):
            return Refused(reason, Why.INVALID)
        account = self._store.account(name)
        if account is None:
            return _nobody(name)
        secret, now_ms = PREFIX + secrets.token_urlsafe(32), self._clock_ms()
        expires_ms = None if days is None else now_ms + days * _DAY_MS
        wanted = AccessToken(0, name, label, scope or account.scope, token_hash(secret), now_ms, actor, expires_ms)
        with self._store.transaction() as transaction:
            if sum(token.is_good(now_ms) for token in self._store.access_tokens(name)) >= MAX_TOKENS_EACH:
                return Refused(f"{name} has {MAX_TOKENS_EACH} tokens; revoke some", Why.CONFLICT)
            made = transaction.add_access_token(wanted)
            if made is None:
                return _nobody(name)
            detail = _told(made.scope) | {"token": made.id, "label": label, "expires_ms": expires_ms}
            transaction.add_audit(actor, "access-token:create", name, as_json(detail), now_ms)
        return NewToken(made, secret)

    def revoke_token(self, token_id: int, actor: str) -> Done | Refused:
        """Take one token away, at once."""
        now_ms = self._clock_ms()
        with self._store.transaction() as transaction:
            owner = transaction.revoke_access_token(token_id, now_ms)
            if owner is None:
                return Refused(f"there is no token {token_id} that lets in", Why.MISSING)
            transaction.add_audit(actor, "access-token:revoke", owner, as_json({"token": token_id}), now_ms)
        return Done(f"token {token_id} of {owner} is revoked")

    def adopt(self, users: Iterable[AccessToken]) -> int:
        """Take tokens over that an older version kept in a file, each for a user of its own; how many were new here."""
        now_ms, count = self._clock_ms(), 0
        with self._store.transaction() as transaction:
            for token in users:
                if transaction.add_account(Account(token.account, token.scope, "", token.created_ms, token.created_by)):
                    transaction.add_access_token(token)
                    transaction.add_audit("picket", "user:adopt", token.account, as_json(_told(token.scope)), now_ms)
                    count += 1
        return count


def _mark(account: Account) -> str:
    """Changes with the password, and tells nothing of it: the stored hash has a salt."""
    return token_hash(account.password)[:16]


def _told(scope: Scope) -> dict[str, object]:
    return {"role": str(scope.role), "namespaces": None if scope.namespaces is None else list(scope.namespaces)}


def _words(scope: Scope) -> str:
    return str(scope.role) if scope.namespaces is None else f"{scope.role} in {', '.join(scope.namespaces)}"


def _nobody(name: str) -> Refused:
    return Refused(f"there is no user {name[:70]}", Why.MISSING)
