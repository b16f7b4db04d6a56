"""Signing in by name and password, an API token or a one-time link, and out. Each is an audit event; no secret is kept."""

from __future__ import annotations

import hmac
import secrets
from dataclasses import dataclass
from http import HTTPStatus

import flask
import structlog

from controlplane.api.problems import ApiProblemError, problem
from controlplane.policy.accounts import Caller
from controlplane.web.guard import COOKIE, FORM_COOKIE, Console, note, set_cookie, who
from controlplane.web.guard import enter as begin
from controlplane.workflow.accounts import Slow

_log = structlog.get_logger("picket.console")


@dataclass(frozen=True, slots=True)
class _Came:
    """Who came in; without a user, the owner."""

    user: Caller | None


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
        came = _by_password(console) if "name" in flask.request.form else _by_secret(console)
        if isinstance(came, str):
            # Without the name: people write their password there by mistake.
            by = "password" if "name" in flask.request.form else "token or link"
            _log.warning("sign-in failed", address=flask.request.remote_addr, by=by)
            return form(failure=came, status=HTTPStatus.UNAUTHORIZED)
        return begin(console, came.user)

    @routes.post("/sign-out")
    def leave() -> flask.Response:
        session = flask.g.session
        console.sessions.end(flask.request.cookies.get(COOKIE, ""))
        note(console, "console:sign-out", who(session))
        by_provider = session is not None and session.user is not None and session.user.proof.startswith("oidc:")
        target = "oidc.leave" if by_provider else "signin.show"
        response = flask.make_response(flask.redirect(flask.url_for(target), HTTPStatus.SEE_OTHER))
        response.delete_cookie(COOKIE)
        return response

    return routes


def _by_password(console: Console) -> _Came | str:
    sent = flask.request.form
    found = console.api.accounts.sign_in(sent["name"].strip(), sent.get("password", ""), flask.request.remote_addr or "")
    if isinstance(found, Slow):
        raise _slow()
    return "Name or password is wrong." if found is None else _Came(found)


def _by_secret(console: Console) -> _Came | str:
    code, token = flask.request.form.get("code", ""), flask.request.form.get("token", "").strip()
    attempts, address = console.api.accounts.attempts, flask.request.remote_addr or ""
    if not attempts.may_try(address):
        raise _slow()
    if console.sessions.use_link(code) if code else _is_owners(console, token):
        return _Came(None)
    user = None if code else console.api.accounts.caller(token)
    if user is not None:
        return _Came(user)
    attempts.failed(address)
    return "That link was used, or is over." if code else "That is no token of this control plane."


def _is_owners(console: Console, token: str) -> bool:
    return console.api.token is not None and hmac.compare_digest(token.encode(), console.api.token.encode())


def _slow() -> ApiProblemError:
    return problem(HTTPStatus.TOO_MANY_REQUESTS, "sign-in", "too many sign-ins have failed", where="form", remedy="wait a minute")
