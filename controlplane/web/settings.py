"""Settings: one's own password, users for admins, owners, and how sinks do. Shows no secret; `users` has the users' forms."""

from __future__ import annotations

from http import HTTPStatus
from typing import Annotated

import flask
from msgspec import Meta, Struct

from controlplane.api import outcomes
from controlplane.api.problems import problem
from controlplane.policy.accounts import Caller
from controlplane.policy.owners import Owners, OwnersError
from controlplane.policy.roles import Role
from controlplane.web.forms import read_form
from controlplane.web.guard import Console, who
from controlplane.workflow.accounts import Slow

_Password = Annotated[str, Meta(max_length=1000)]


class OwnPassword(Struct, frozen=True, forbid_unknown_fields=True):
    """The reader's password of ``now``, and the next one."""

    now: _Password
    password: _Password


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("settings", __name__)
    api, accounts = console.api, console.api.accounts

    @routes.get("/settings")
    def show() -> str:
        session = flask.g.session
        owners = _owners(console)
        return flask.render_template(
            "settings.html", reader=who(session), user=session.user, has_password=_has_password(session.user), roles=list(Role),
            users=api.store.accounts(), sinks=api.sinks(), owners=owners if isinstance(owners, Owners) else None,
            trouble=owners if isinstance(owners, str) else "", four_eyes=api.review.agreement.four_eyes,
        )  # fmt: skip

    @routes.post("/settings/password")
    def own_password() -> flask.typing.ResponseReturnValue:
        user, sent = flask.g.session.user, read_form(OwnPassword)
        if not _has_password(user):
            raise problem(HTTPStatus.CONFLICT, "conflict", "you did not sign in by a password", where="form", remedy="ask an admin")
        found = accounts.sign_in(user.name, sent.now, flask.request.remote_addr or "")
        if not isinstance(found, Caller):
            reason = "too many have failed; wait a minute" if isinstance(found, Slow) else "the password of now is wrong"
            raise problem(HTTPStatus.FORBIDDEN, "sign-in", reason, where="form.now", remedy="try again")
        outcomes.done(accounts.set_password(user.name, sent.password, user.name), "choose another password")
        return flask.redirect(flask.url_for("signin.show"), HTTPStatus.SEE_OTHER)

    return routes


def _has_password(user: Caller | None) -> bool:
    return user is not None and user.proof.startswith("password:")


def _owners(console: Console) -> Owners | str:
    """The owners of now, or why their file cannot be read."""
    try:
        return console.api.review.agreement.owners()
    except OwnersError as error:
        return str(error)
