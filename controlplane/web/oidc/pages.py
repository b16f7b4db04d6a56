"""`/sign-in/oidc`: to the identity provider and back, and out again. What comes back counts once, for the browser that was sent."""

from __future__ import annotations

import hmac
import secrets
import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import flask
import structlog

from controlplane.api.problems import ApiProblemError, problem
from controlplane.policy.accounts import Caller, check_name
from controlplane.policy.groups import scope_of
from controlplane.web.guard import Console, enter, set_cookie
from controlplane.web.oidc.document import OidcSettings
from controlplane.web.oidc.provider import NotProven, Provider, ProviderError

COOKIE = "picket-oidc"
#: How long somebody may take at the provider, and how many may at once.
WAIT_MS = 600_000
MAX_WAITING = 1_000
_log = structlog.get_logger("picket.oidc")


@dataclass(frozen=True, slots=True)
class _Begun:
    """What was sent along with a browser; ``browser`` is what its cookie holds."""

    browser: str
    nonce: str
    verifier: str
    until_ms: int


class Waiting:
    """Sign-ins under way, by state. Each is taken once."""

    def __init__(self, clock_ms: Callable[[], int]) -> None:
        self._clock_ms = clock_ms
        self._lock = threading.Lock()
        self._begun: dict[str, _Begun] = {}

    def begin(self) -> tuple[str, _Begun]:
        """A new one's state, and what belongs to it."""
        state, now_ms = secrets.token_urlsafe(32), self._clock_ms()
        made = _Begun(secrets.token_urlsafe(32), secrets.token_urlsafe(32), secrets.token_urlsafe(48), now_ms + WAIT_MS)
        with self._lock:
            self._begun = {known: begun for known, begun in self._begun.items() if begun.until_ms > now_ms}
            while len(self._begun) >= MAX_WAITING:
                del self._begun[next(iter(self._begun))]
            self._begun[state] = made
        return state, made

    def take(self, state: str, browser: str) -> _Begun | None:
        """What was begun with this state by this browser, while it waits."""
        with self._lock:
            found = self._begun.pop(state, None)
        if found is None or found.until_ms <= self._clock_ms():
            return None
        return found if hmac.compare_digest(found.browser.encode(), browser.encode()) else None


def blueprint(console: Console, settings: OidcSettings) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("oidc", __name__)
    clock_ms = console.api.clock_ms
    provider, waiting = Provider(settings, clock_ms), Waiting(clock_ms)

    @routes.get("/sign-in/oidc")
    def begin() -> flask.Response:
        state, begun = waiting.begin()
        try:
            address = provider.address(state, begun.nonce, begun.verifier)
        except ProviderError as error:
            raise _away(error) from error
        response = flask.make_response(flask.redirect(address, HTTPStatus.SEE_OTHER))
        set_cookie(response, COOKIE, begun.browser)
        return response

    @routes.get("/sign-in/oidc/back")
    def back() -> flask.Response:
        given = flask.request.args
        begun = waiting.take(given.get("state", ""), flask.request.cookies.get(COOKIE, ""))
        if begun is None:
            raise _refused("this sign-in is over, was used, or was begun by another browser")
        if "code" not in given:
            raise _refused("the identity provider says no")
        try:
            claims = provider.claims(given["code"], begun.verifier, begun.nonce)
        except ProviderError as error:
            raise _away(error) from error
        if isinstance(claims, NotProven):
            _log.warning("sign-in refused", reason=claims.reason)
            raise _refused(claims.reason)
        response = enter(console, _caller(console, settings, claims), settings.session_ms)
        response.delete_cookie(COOKIE)
        return response

    @routes.get("/sign-in/oidc/out")
    def leave() -> flask.typing.ResponseReturnValue:
        try:
            address = provider.leaving()
        except ProviderError as error:
            raise _away(error) from error
        if address is None:
            return flask.redirect(flask.url_for("signin.show"), HTTPStatus.SEE_OTHER)
        # A page that leads on: a redirect would end at the forms' own policy, which lets them lead nowhere else.
        return flask.render_template("onward.html", target=address)

    return routes


def _caller(console: Console, settings: OidcSettings, claims: Mapping[str, Any]) -> Caller:
    name, groups = claims.get(settings.name_claim), claims.get(settings.groups_claim, [])
    if not isinstance(name, str) or check_name(name.lower()):
        raise _refused(f"the claim {settings.name_claim} holds no name that can be a user's here")
    if settings.name_claim == "email" and claims.get("email_verified") is not True:
        raise _refused("the identity provider has not verified that e-mail address")
    member = [group for group in groups if isinstance(group, str)] if isinstance(groups, list) else []
    scope = scope_of(member, settings.groups)
    if scope is None:
        _log.warning("sign-in refused", user=name.lower(), reason="no group with a role")
        raise _refused("none of your groups has a role here", HTTPStatus.FORBIDDEN)
    if console.api.store.account(name.lower()) is not None:
        raise _refused(f"there is a local user {name.lower()}, who is not taken for you", HTTPStatus.FORBIDDEN)
    return Caller(name.lower(), scope, "oidc")


def _refused(reason: str, status: HTTPStatus = HTTPStatus.UNAUTHORIZED) -> ApiProblemError:
    return problem(status, "sign-in", reason, where="sign-in", remedy="sign in again, or ask an admin")


def _away(error: ProviderError) -> ApiProblemError:
    _log.error("identity provider", error=str(error))
    detail = "the identity provider cannot be asked"
    return problem(HTTPStatus.BAD_GATEWAY, "sign-in", detail, where="sign-in", remedy="try again; the log says more")
