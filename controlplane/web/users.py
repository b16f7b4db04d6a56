"""Users' forms: making one, what it may do, its password and its tokens. A new token is on one page, once; a password on none."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated, Literal

import flask
from msgspec import Meta, Struct

from controlplane.api import outcomes
from controlplane.api.problems import problem
from controlplane.api.reading import read_number
from controlplane.policy.accounts import Account, Scope
from controlplane.policy.roles import Role
from controlplane.web.forms import Days, read_form
from controlplane.web.guard import Console, require, who
from controlplane.workflow.revisions import Refused

_REMEDY = "look at the users"
_Text = Annotated[str, Meta(max_length=300)]
_Password = Annotated[str, Meta(max_length=1000)]


class NewUser(Struct, frozen=True, forbid_unknown_fields=True):
    """``namespaces`` have spaces or commas between, none for the whole mesh; without a password, the user gets a token."""

    name: _Text
    role: Role
    namespaces: _Text = ""
    password: _Password = ""


class NewScope(Struct, frozen=True, forbid_unknown_fields=True):
    """What a user may do from now on."""

    role: Role
    namespaces: _Text = ""


class NewPassword(Struct, frozen=True, forbid_unknown_fields=True):
    """A user's password from now on."""

    password: _Password


class NewToken(Struct, frozen=True, forbid_unknown_fields=True):
    """A token; ``role`` empty: what the user may do."""

    label: _Text = ""
    role: Literal["", "viewer", "developer", "responder", "approver", "admin"] = ""
    namespaces: _Text = ""
    days: Days = ""


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("users", __name__)
    api, accounts = console.api, console.api.accounts

    @routes.post("/settings/users")
    def add() -> flask.typing.ResponseReturnValue:
        sent, actor = read_form(NewUser), who(flask.g.session)
        outcomes.done(accounts.create(sent.name, _scope(sent.role, sent.namespaces), sent.password, actor), _REMEDY)
        return _to(sent.name) if sent.password else _made(console, sent.name, "first", None, None)

    @routes.get("/settings/users/<name>")
    def one(name: str) -> str:
        require(Role.ADMIN)
        return flask.render_template(
            "user.html",
            account=_account(console, name),
            tokens=api.store.access_tokens(name),
            roles=list(Role),
            now_ms=api.clock_ms(),
        )

    @routes.post("/settings/users/<name>/scope")
    def change(name: str) -> flask.typing.ResponseReturnValue:
        sent = read_form(NewScope)
        outcomes.done(accounts.set_scope(name, _scope(sent.role, sent.namespaces), who(flask.g.session)), _REMEDY)
        return _to(name)

    @routes.post("/settings/users/<name>/password")
    def set_password(name: str) -> flask.typing.ResponseReturnValue:
        outcomes.done(accounts.set_password(name, read_form(NewPassword).password, who(flask.g.session)), _REMEDY)
        return _to(name)

    @routes.post("/settings/users/<name>/remove")
    def remove(name: str) -> flask.typing.ResponseReturnValue:
        outcomes.done(accounts.remove(name, who(flask.g.session)), _REMEDY)
        return flask.redirect(flask.url_for("settings.show"), HTTPStatus.SEE_OTHER)

    @routes.post("/settings/users/<name>/tokens")
    def new_token(name: str) -> str:
        sent = read_form(NewToken)
        scope = _scope(Role(sent.role), sent.namespaces) if sent.role else None
        return _made(console, name, sent.label, scope, int(sent.days) if sent.days else None)

    @routes.post("/settings/tokens/<number>/revoke")
    def revoke_token(number: str) -> flask.typing.ResponseReturnValue:
        wanted = read_number(number, "token")
        outcomes.done(accounts.revoke_token(wanted, who(flask.g.session)), _REMEDY)
        token = api.store.access_token_by_id(wanted)
        return _to(token.account) if token is not None else flask.redirect(flask.url_for("settings.show"), HTTPStatus.SEE_OTHER)

    return routes


def _made(console: Console, name: str, label: str, scope: Scope | None, days: int | None) -> str:
    """The page that shows a new token, this once."""
    made = console.api.accounts.new_token(name, label, scope, days, who(flask.g.session))
    if isinstance(made, Refused):
        raise outcomes.refusal(made, _REMEDY)
    return flask.render_template("secret.html", token=made.token, secret=made.secret)


def _account(console: Console, name: str) -> Account:
    found = console.api.store.account(name)
    if found is None:
        raise problem(HTTPStatus.NOT_FOUND, "missing", f"there is no user {name[:70]}", where="path", remedy=_REMEDY)
    return found


def _to(name: str) -> flask.typing.ResponseReturnValue:
    return flask.redirect(flask.url_for("users.one", name=name), HTTPStatus.SEE_OTHER)


def _scope(role: Role, namespaces: str) -> Scope:
    names = tuple(dict.fromkeys(namespaces.replace(",", " ").split()))
    return Scope(role, names or None)
