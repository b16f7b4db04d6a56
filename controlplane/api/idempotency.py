"""`Idempotency-Key`: a write that is sent again with its key is done once and answered as before. Decides nothing about it."""

from __future__ import annotations

import hashlib
import re
from http import HTTPStatus

import flask

from controlplane.api.access import actor
from controlplane.api.problems import ApiProblemError, problem
from controlplane.api.reading import SAFE_METHODS
from controlplane.api.services import ApiServices
from controlplane.workflow.calls import Calls, Ended, New, Other, UnderWay

HEADER = "Idempotency-Key"
#: Says that nothing was done for this answer: it is that of an earlier call.
REPLAYED = "Idempotency-Replayed"
_KEY = re.compile(r"[!-~]{1,100}")
#: Their answers hold a secret, which is shown once and kept nowhere.
SECRET = frozenset({"tokens.create", "access-tokens.create"})
#: Their bodies may hold a password, of which not even a hash is kept here. Each is done once by its nature.
UNKEYED = frozenset({"users.create", "users.password"})


def install(app: flask.Flask, services: ApiServices) -> None:
    """Look every write's key up; comes after the check of who calls."""
    calls = Calls(services.store, services.clock_ms)

    @app.before_request
    def begin() -> flask.Response | None:
        request = flask.request
        key = request.headers.get(HEADER)
        if key is None or request.method in SAFE_METHODS or request.endpoint in {None, *UNKEYED}:
            return None
        if not _KEY.fullmatch(key):
            remedy = "send 1 to 100 printable ASCII characters without spaces, such as a UUID"
            raise problem(HTTPStatus.BAD_REQUEST, "idempotency-key", "that is no key", where=HEADER, remedy=remedy)
        match calls.begin(actor(), key, _fingerprint()):
            case New():
                flask.g.idempotency_key = key
                return None
            case Ended(status, media_type, bytes(body)):
                return flask.Response(body, status, {REPLAYED: "true"}, content_type=media_type)
            case Ended():
                raise _refused(HTTPStatus.CONFLICT, "it was done, and its answer is not kept", "see what is there now")
            case UnderWay():
                raise _refused(HTTPStatus.CONFLICT, "a call with this key is under way, or was cut off", "see what became of it")
            case Other():
                raise _refused(HTTPStatus.UNPROCESSABLE_ENTITY, "this key was used for another call", "make a new key each time")

    @app.after_request
    def end(response: flask.Response) -> flask.Response:
        key = flask.g.pop("idempotency_key", None)
        if key is None:
            return response
        if response.status_code >= HTTPStatus.INTERNAL_SERVER_ERROR:
            calls.forget(actor(), key)
        else:
            body = None if flask.request.endpoint in SECRET else response.get_data()
            calls.end(actor(), key, response.status_code, response.content_type or "", body)
        return response


def _refused(status: HTTPStatus, detail: str, remedy: str) -> ApiProblemError:
    return problem(status, "idempotency-key", detail, where=HEADER, remedy=remedy)


def _fingerprint() -> str:
    request = flask.request
    what = hashlib.blake2b(f"{request.method} {request.full_path}\n".encode(), digest_size=32)
    what.update(request.get_data())
    return what.hexdigest()
