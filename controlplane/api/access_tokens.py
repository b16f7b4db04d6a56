"""`/api/v1/access-tokens`: users' tokens for the API. A token is in the answer that made it, and nowhere else."""

from __future__ import annotations

from http import HTTPStatus

import flask

from controlplane.api import outcomes
from controlplane.api.access import actor
from controlplane.api.account_schemas import AccessToken, AccessTokenBody, AccessTokens, AccessTokensQuery, NewAccessToken
from controlplane.api.paging import number_of, page
from controlplane.api.reading import read_body, read_number, read_query, write
from controlplane.api.requests import Nothing
from controlplane.api.services import ApiServices
from controlplane.policy import accounts
from controlplane.policy.accounts import Scope
from controlplane.workflow.revisions import Refused

_REMEDY = "list the tokens with `picket user tokens`"


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes."""
    routes = flask.Blueprint("access-tokens", __name__)

    @routes.get("/access-tokens")
    def several() -> flask.Response:
        query = read_query(AccessTokensQuery)
        last = number_of(query.cursor)
        found = [token for token in services.store.access_tokens(query.user or None) if last is None or token.id < last]
        shown, cursor = page(found, query.limit, lambda token: token.id)
        now_ms = services.clock_ms()
        return write(AccessTokens([_token(token, now_ms) for token in shown], cursor))

    @routes.post("/access-tokens")
    def create() -> flask.Response:
        body = read_body(AccessTokenBody)
        scope = None
        if body.role is not None:
            scope = Scope(body.role, None if body.namespaces is None else tuple(dict.fromkeys(body.namespaces)))
        made = services.accounts.new_token(body.user, body.label, scope, body.days, actor())
        if isinstance(made, Refused):
            raise outcomes.refusal(made, _REMEDY)
        return write(NewAccessToken(_token(made.token, services.clock_ms()), made.secret), HTTPStatus.CREATED)

    @routes.post("/access-tokens/<number>/revoke")
    def revoke(number: str) -> flask.Response:
        read_body(Nothing)
        return write(outcomes.done(services.accounts.revoke_token(read_number(number, "token"), actor()), _REMEDY))

    return routes


def _token(token: accounts.AccessToken, now_ms: int) -> AccessToken:
    names = token.scope.namespaces
    return AccessToken(
        id=token.id, user=token.account, label=token.label, role=str(token.scope.role),
        namespaces=None if names is None else list(names), good=token.is_good(now_ms), created_ms=token.created_ms,
        created_by=token.created_by, expires_ms=token.expires_ms, last_used_ms=token.last_used_ms, revoked_ms=token.revoked_ms,
    )  # fmt: skip
