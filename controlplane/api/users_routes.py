"""`/api/v1/users`: who may call the API by a named token. A token is in the answer that made it, and nowhere else."""

from __future__ import annotations

from http import HTTPStatus

import flask
import msgspec

from controlplane.api.access import actor
from controlplane.api.paging import page_after
from controlplane.api.problems import ApiProblemError, problem
from controlplane.api.reading import read_body, read_query, write
from controlplane.api.requests import RevokeBody, UserBody, UsersQuery
from controlplane.api.schemas import NamedUser, NamedUsers, NewUser
from controlplane.api.services import ApiServices
from controlplane.api.users import Users, UsersError


def blueprint(services: ApiServices) -> flask.Blueprint:
    """The routes. Each change is written down in the audit log before it is made; if it fails, that is undone."""
    routes = flask.Blueprint("users", __name__)

    def users() -> Users:
        if services.users is None:
            raise _refused(UsersError("this control plane keeps no users"))
        return services.users

    @routes.get("/users")
    def several() -> flask.Response:
        query = read_query(UsersQuery)
        try:
            known = users().known()
        except UsersError as error:
            raise _refused(error) from error
        shown, cursor = page_after(known, query.limit, query.cursor, lambda user: user.name, str)
        return write(NamedUsers([NamedUser(user.name, str(user.role), user.created_ms) for user in shown], cursor))

    @routes.post("/users")
    def create() -> flask.Response:
        body = read_body(UserBody)
        now_ms = services.clock_ms()
        detail = msgspec.json.encode({"role": str(body.role)}).decode()
        try:
            with services.store.transaction() as transaction:
                transaction.add_audit(actor(), "user:create", body.name, detail, now_ms)
                token = users().add(body.name, body.role, now_ms)
        except UsersError as error:
            raise _refused(error) from error
        return write(NewUser(body.name, str(body.role), token), HTTPStatus.CREATED)

    @routes.post("/users/revoke")
    def revoke() -> flask.Response:
        body = read_body(RevokeBody)
        try:
            with services.store.transaction() as transaction:
                transaction.add_audit(actor(), "user:revoke", body.name, "{}", services.clock_ms())
                users().revoke(body.name)
        except UsersError as error:
            raise _refused(error) from error
        return several()

    return routes


def _refused(error: UsersError) -> ApiProblemError:
    return problem(HTTPStatus.CONFLICT, "users", str(error), where="body", remedy="list the users with `picket user list`")
