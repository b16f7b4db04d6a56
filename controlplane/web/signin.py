"""Signing in by an API token or a one-time link, and out. Each is an audit event; a token is never kept."""

from __future__ import annotations

import hmac
import secrets
from http import HTTPStatus

import flask

from controlplane.api.problems import problem
from controlplane.api.users import User, UsersError
from controlplane.web.guard import COOKIE, FORM_COOKIE, Console, set_cookie, who


def blueprint(console: Console) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("signin", __name__)

    def form(code: str = "", failure: str = "", status: HTTPStatus = HTTPStatus.OK) -> flask.Response:
        session = flask.g.session
        # The same key as before: another tab, or the browser itself, may load this page meanwhile.
        key = session.form_key if session is not None else flask.request.cookies.get(FORM_COOKIE) or secrets.token_urlsafe(32)
        page = flask.render_template("signin.html", form_key=key, code=code, failure=failure)
        response = flask.Response(page, int(status))
        if session is None:
            set_cookie(response, FORM_COOKIE, key)
        return response

    @routes.get("/sign-in")
    def show() -> flask.Response:
        return form()

    @routes.get("/sign-in/once/<code>")
    def link(code: str) -> flask.typing.ResponseReturnValue:
        if flask.g.session is not None:  # whoever opens the link again is in already
            return flask.redirect(flask.url_for("overview.show"), HTTPStatus.SEE_OTHER)
        # Only the form uses the link up: whoever looks ahead at addresses, as chats do, does not.
        return form(code)

    @routes.post("/sign-in")
    def enter() -> flask.Response:
        if not console.sessions.may_try():
            remedy = "wait a minute"
            raise problem(HTTPStatus.TOO_MANY_REQUESTS, "sign-in", "too many sign-ins have failed", where="form", remedy=remedy)
        code, token = flask.request.form.get("code", ""), flask.request.form.get("token", "").strip()
        is_owner = console.sessions.use_link(code) if code else _is_owners(token)
        user = None if is_owner or code else _named(token)
        if not is_owner and user is None:
            console.sessions.failed()
            failure = "That link was used, or is over." if code else "That is no token of this control plane."
            return form(failure=failure, status=HTTPStatus.UNAUTHORIZED)
        key = console.sessions.begin(user)
        _written("console:sign-in", who(console.sessions.find(key)))
        response = flask.make_response(flask.redirect(flask.url_for("overview.show"), HTTPStatus.SEE_OTHER))
        set_cookie(response, COOKIE, key)
        response.delete_cookie(FORM_COOKIE)
        return response

    @routes.post("/sign-out")
    def leave() -> flask.Response:
        console.sessions.end(flask.request.cookies.get(COOKIE, ""))
        _written("console:sign-out", who(flask.g.session))
        response = flask.make_response(flask.redirect(flask.url_for("signin.show"), HTTPStatus.SEE_OTHER))
        response.delete_cookie(COOKIE)
        return response

    def _is_owners(token: str) -> bool:
        return console.api.token is not None and hmac.compare_digest(token.encode(), console.api.token.encode())

    def _named(token: str) -> User | None:
        try:
            return console.api.users.caller(token) if console.api.users is not None and token else None
        except UsersError:
            return None

    def _written(action: str, actor: str) -> None:
        with console.api.store.transaction() as transaction:
            transaction.add_audit(actor, action, actor, "{}", console.api.clock_ms())

    return routes
