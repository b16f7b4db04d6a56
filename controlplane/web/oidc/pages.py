"""`/sign-in/oidc`: to the identity provider and back, and out again. What comes back counts once, for the browser that was sent."""

from __future__ import annotations

from collections.abc import Mapping
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
from controlplane.web.oidc.waiting import Waiting

COOKIE = "picket-oidc"
_log = structlog.get_logger("picket.oidc")


def blueprint(console: Console, settings: OidcSettings) -> flask.Blueprint:
    """The pages."""
    routes = flask.Blueprint("oidc", __name__)
    clock_ms = console.api.clock_ms
    provider, waiting = Provider(settings, clock_ms), Waiting(console.api.store, clock_ms)

    @routes.get("/sign-in/oidc")
    def begin() -> flask.Response:
        begun = waiting.begin()
        try:
            address = provider.address(begun.state, begun.nonce, begun.verifier)
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
    return Caller(name.lower(), scope, settings.proof)


def _refused(reason: str, status: HTTPStatus = HTTPStatus.UNAUTHORIZED) -> ApiProblemError:
    return problem(status, "sign-in", reason, where="sign-in", remedy="sign in again, or ask an admin")


def _away(error: ProviderError) -> ApiProblemError:
    _log.error("identity provider", error=str(error))
    detail = "the identity provider cannot be asked"
    return problem(HTTPStatus.BAD_GATEWAY, "sign-in", detail, where="sign-in", remedy="try again; the log says more")
