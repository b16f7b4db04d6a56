"""What every page of the console is kept by: known host names, own pages only, a session, form keys, and headers. Shows nothing."""

from __future__ import annotations

import hmac
import re
from dataclasses import dataclass, field, replace
from http import HTTPStatus
from urllib.parse import quote

import flask

from controlplane.api.access import check_host, host_name, is_loopback, leave_scope, refuse_cross_site, stay_within
from controlplane.api.problems import ApiProblemError, problem
from controlplane.api.services import ApiServices
from controlplane.policy.accounts import Caller
from controlplane.policy.actors import CONSOLE_OWNER
from controlplane.policy.roles import Role
from controlplane.web.roles import OWN, SAME_AS, least
from controlplane.web.sessions import LIFETIME_MS, Session, Sessions
from controlplane.web.tails import Tails

COOKIE = "picket-session"
#: What the sign-in form brings back, where there is no session yet.
FORM_COOKIE = "picket-form"
#: The page that somebody asked for before signing in.
ASKED_COOKIE = "picket-asked"
#: Longer addresses are not kept, as browsers drop the cookie.
_MAX_ASKED = 2_000
_ASKED_SECONDS = 900
#: One slash: two, or one turned round, would be another site's address.
_OWN_PAGE = re.compile(r"/(?![/\\])[!-~]*")
#: Reached without a session.
_OPEN = frozenset({"signin.show", "signin.enter", "signin.link", "oidc.begin", "oidc.back", "oidc.leave", "static"})
#: Pages that run script files of our own; all others run no script at all, so that there is none to be injected into.
_SCRIPTED = frozenset({"map.show", "blocked.several", "revisions.one", "rollouts.several"})
_POLICY = "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self'; frame-ancestors 'none'; base-uri 'none'"


@dataclass(frozen=True, slots=True)
class Console:
    """What the pages work with: the API's parts, and who is signed in.

    ``by_provider`` is the proof of those who come in by the identity provider as it is set now; without one nobody does.
    """

    api: ApiServices
    sessions: Sessions
    tails: Tails = field(default_factory=Tails)
    by_provider: str = ""


def install(app: flask.Flask, console: Console) -> None:
    """Check every request before its page is made."""
    app.teardown_request(leave_scope)

    @app.before_request
    def check() -> flask.typing.ResponseReturnValue | None:
        request = flask.request
        check_host(console.api.host_names)
        if request.method == "GET" and request.headers.get("Sec-Fetch-Mode") == "navigate" and _comes_from_elsewhere():
            # A browser sends a strict cookie only from our own page: this one leads on, so that links can be shared.
            return flask.render_template("onward.html", target=_asked_now())
        refuse_cross_site()
        flask.g.session = session = current_session(console)
        if request.method == "POST":
            _check_form(session)
        if request.endpoint in _OPEN:
            return None
        if session is not None:
            if request.method not in {"GET", "HEAD", "OPTIONS"} and request.endpoint not in {None, *OWN}:
                require(least(request.endpoint or ""))
                stay_within(SAME_AS.get(request.endpoint or "", ""), session.user)
            return None
        return _to_sign_in()

    @app.after_request
    def close(response: flask.Response) -> flask.Response:
        own = "; script-src 'self'; connect-src 'self'" if flask.request.endpoint in _SCRIPTED else ""
        response.headers["Content-Security-Policy"] = _POLICY + own
        response.headers["Referrer-Policy"] = "same-origin"
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["X-Frame-Options"] = "DENY"
        response.headers["Cache-Control"] = "no-store"
        return response

    @app.errorhandler(ApiProblemError)
    def expected(error: ApiProblemError) -> tuple[str, int]:
        return flask.render_template("problem.html", problem=error.problem), error.problem.status


def current_session(console: Console) -> Session | None:
    """The caller's session; see `session_of`."""
    return session_of(console, flask.request.cookies.get(COOKIE, ""))


def session_of(console: Console, key: str) -> Session | None:
    """The session of a key, with what its user may do by now; none when what it came in by holds no more."""
    session = console.sessions.find(key)
    if session is None or session.user is None:
        return session
    if session.user.proof.startswith("oidc:") and session.user.proof != console.by_provider:
        return None
    user = console.api.accounts.still(session.user)
    return None if user is None else replace(session, user=user)


def may(wanted: Role) -> bool:
    """Whether whoever is signed in has this role or more; the owner has every role."""
    session = flask.g.session
    return session is not None and (session.user is None or session.user.role.may(wanted))


def require(wanted: Role) -> None:
    """Go on only for a reader with this role or more.

    Raises:
        ApiProblemError: the reader's role is less.
    """
    if may(wanted):
        return
    detail = f"{who(flask.g.session)} may not do this: it asks for the role {wanted}"
    remedy = "ask somebody who has the role, or an admin for it"
    raise problem(HTTPStatus.FORBIDDEN, "role", detail, where="session", remedy=remedy)


def who(session: Session | None) -> str:
    """The name that the audit log and the page get; nobody else can have the owner's."""
    return session.user.name if session is not None and session.user is not None else CONSOLE_OWNER


def enter(console: Console, user: Caller | None, lasts_ms: int = LIFETIME_MS) -> flask.Response:
    """Begin a session, write it down, and lead to the page that was asked for; without a user it is the owner's."""
    key = console.sessions.begin(user, lasts_ms)
    note(console, "console:sign-in", who(console.sessions.find(key)))
    response = flask.make_response(flask.redirect(_asked_before(), HTTPStatus.SEE_OTHER))
    set_cookie(response, COOKIE, key)
    for used in (FORM_COOKIE, ASKED_COOKIE):
        response.delete_cookie(used)
    return response


def note(console: Console, action: str, actor: str) -> None:
    """Write down what somebody did to the own session."""
    with console.api.store.transaction() as transaction:
        transaction.add_audit(actor, action, actor, "{}", console.api.clock_ms())


def set_cookie(response: flask.Response, name: str, value: str, lasts_seconds: int | None = None) -> None:
    """A cookie that no script reads and no other site's page sends; over TLS alone wherever the console is not on this machine."""
    host = host_name(f"//{flask.request.headers.get('Host', '')}") or ""
    is_secure = not is_loopback(host) or flask.request.headers.get("X-Forwarded-Proto") == "https"
    response.set_cookie(name, value, max_age=lasts_seconds, httponly=True, samesite="Strict", secure=is_secure, path="/")


def _to_sign_in() -> flask.Response:
    """Lead a stranger to the sign-in, and from there back to the page, if it is one that a person asked for."""
    request, asked = flask.request, _asked_now()
    response = flask.make_response(flask.redirect(flask.url_for("signin.show"), HTTPStatus.SEE_OTHER))
    is_a_look = request.method == "GET" and request.headers.get("Sec-Fetch-Mode", "navigate") == "navigate"
    if is_a_look and request.endpoint is not None and len(asked) <= _MAX_ASKED:
        set_cookie(response, ASKED_COOKIE, asked, _ASKED_SECONDS)
    return response


def _asked_now() -> str:
    """The address that is asked for, below our own: one slash, and no tab or line end, which browsers leave out of addresses."""
    request = flask.request
    asked = quote("/" + request.path.lstrip("/\\"))
    return f"{asked}?{quote(request.query_string, safe='%=&+,:;/*-')}" if request.query_string else asked


def _asked_before() -> str:
    """The page that was asked for before the sign-in; the first page where there was none, or where it is no page of ours."""
    asked = flask.request.cookies.get(ASKED_COOKIE, "")
    return asked if _OWN_PAGE.fullmatch(asked) else flask.url_for("overview.show")


def _comes_from_elsewhere() -> bool:
    return flask.request.headers.get("Sec-Fetch-Site", "none") not in {"none", "same-origin"}


def _check_form(session: Session | None) -> None:
    expected = session.form_key if session is not None else flask.request.cookies.get(FORM_COOKIE, "")
    given = flask.request.form.get("form_key", "")
    if not expected or not hmac.compare_digest(expected.encode(), given.encode()):
        if session is None and flask.request.endpoint not in _OPEN:
            signed_out = "you are signed out: nothing was changed"
            raise problem(HTTPStatus.FORBIDDEN, "form", signed_out, where="form", remedy="sign in, and send it from the page again")
        raise problem(
            HTTPStatus.FORBIDDEN, "form", "this form is out of date, or is not from the console",
            where="form", remedy="load the page again, and send it from there",
        )  # fmt: skip
