"""`/api/v1/users`: local users, their roles, namespaces and passwords. No password is ever in an answer."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import outcomes
from controlplane.api.access import actor
from controlplane.api.account_schemas import (
    NamedUser,
    NamedUsers,
    NewUser,
    PasswordBody,
    RevokeBody,
    ScopeBody,
    UserBody,
    UsersQuery,
)
from controlplane.api.paging import page_after
from controlplane.api.reading import read_body, read_query, write
from controlplane.api.services import ApiServices
from controlplane.policy.accounts import Account, Scope
from controlplane.workflow.revisions import Refused

_REMEDY = "list the users with `picket user list`"


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("users", __name__)
    accounts = services.accounts

    @routes.get("/users")
    def several() -> flask.Response:
        query = read_query(UsersQuery)
        shown, cursor = page_after(services.store.accounts(), query.limit, query.cursor, lambda account: account.name, str)
        return write(NamedUsers([_user(account) for account in shown], cursor))

    @routes.post("/users")
    def create() -> flask.Response:
        body = read_body(UserBody)
        scope = scope_of(body)
        outcomes.done(accounts.create(body.name, scope, body.password, actor()), _REMEDY)
        token = None
        if body.token:
            made = accounts.new_token(body.name, body.label, None, body.days, actor())
            if isinstance(made, Refused):
                raise outcomes.refusal(made, _REMEDY)
            token = made.secret
        return write(NewUser(body.name, str(body.role), body.namespaces, token), HTTPStatus.CREATED)

    @routes.put("/users")
    def change() -> flask.Response:
        body = read_body(ScopeBody)
        return write(outcomes.done(accounts.set_scope(body.name, scope_of(body), actor()), _REMEDY))

    @routes.put("/users/password")
    def password() -> flask.Response:
        body = read_body(PasswordBody)
        return write(outcomes.done(accounts.set_password(body.name, body.password, actor()), _REMEDY))

    @routes.post("/users/revoke")
    def revoke() -> flask.Response:
        outcomes.done(accounts.remove(read_body(RevokeBody).name, actor()), _REMEDY)
        return several()

    return routes


def scope_of(body: UserBody | ScopeBody) -> Scope:
    """What a body lets somebody do."""
    return Scope(body.role, None if body.namespaces is None else tuple(dict.fromkeys(body.namespaces)))


def _user(account: Account) -> NamedUser:
    names = account.scope.namespaces
    return NamedUser(
        account.name, str(account.scope.role), account.created_ms, None if names is None else list(names), bool(account.password),
        account.created_by,
    )  # fmt: skip
