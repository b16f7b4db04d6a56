"""Problem documents (RFC 9457): what is wrong, where, and what to do. Never carries a traceback or a secret.

Source: https://www.rfc-editor.org/rfc/rfc9457
"""

from __future__ import annotations

from http import HTTPStatus

import flask
import msgspec
import structlog
from werkzeug.exceptions import HTTPException

from controlplane.policy.documents import DocumentError
from controlplane.store.interface import StoreError
from controlplane.workflow.publish import CompileError

MEDIA_TYPE = "application/problem+json"
_log = structlog.get_logger("picket.api")


class Problem(msgspec.Struct, frozen=True, omit_defaults=True):
    """One problem document.

    ``type`` names the kind for programs (``urn:picket:problem:KIND``), ``detail`` says what happened to people, ``where`` is
    the part of the request that it is about (``body``, ``body.rows[0]``, ``query.limit``, ``path``, a header's name), and
    ``remedy`` what to do.
    """

    type: str
    title: str
    status: int
    detail: str
    where: str = ""
    remedy: str = ""


class ApiProblemError(Exception):
    """A request that ends in a problem document."""

    def __init__(self, problem: Problem) -> None:
        super().__init__(problem.detail)
        self.problem = problem


def problem(status: HTTPStatus, kind: str, detail: str, *, where: str = "", remedy: str = "") -> ApiProblemError:
    """A problem to raise."""
    return ApiProblemError(Problem(f"urn:picket:problem:{kind}", status.phrase, int(status), detail, where, remedy))


def respond(document: Problem) -> flask.Response:
    """The response that carries a problem."""
    return flask.Response(msgspec.json.encode(document), document.status, content_type=MEDIA_TYPE)


def install(app: flask.Flask) -> None:
    """Let every failure of a request end in a problem document, and what is our fault in the log."""
    app.logger.disabled = True  # it would write the same again, as text among lines of JSON

    @app.errorhandler(ApiProblemError)
    def expected(error: ApiProblemError) -> flask.Response:
        return respond(error.problem)

    @app.errorhandler(StoreError)
    def store_failed(error: StoreError) -> flask.Response:
        _log.error("store failed", path=flask.request.path, error=str(error))
        remedy = "see /readyz and the control plane's log"
        return respond(Problem("urn:picket:problem:store", "Service Unavailable", 503, f"{error}", "", remedy))

    @app.errorhandler(CompileError)
    def compile_failed(error: CompileError) -> flask.Response:
        _log.error("snapshot does not compile", path=flask.request.path, error=str(error))
        remedy = "roll back to the revision before, and report it"
        return respond(Problem("urn:picket:problem:compile", "Internal Server Error", 500, f"{error}", "", remedy))

    @app.errorhandler(DocumentError)
    def document_failed(error: DocumentError) -> flask.Response:
        _log.error("stored document does not read", path=flask.request.path, error=str(error))
        remedy = "restore the database from a backup"
        return respond(Problem("urn:picket:problem:document", "Internal Server Error", 500, f"{error}", "", remedy))

    @app.errorhandler(HTTPException)
    def http_failed(error: HTTPException) -> flask.Response:
        if error.code is not None and error.code < 400 and error.response is None:
            return flask.Response(status=error.code, headers=dict(error.get_headers(flask.request.environ)))
        status = HTTPStatus(error.code or 500)
        if status is HTTPStatus.INTERNAL_SERVER_ERROR:
            _log.error("request failed", path=flask.request.path, exc_info=getattr(error, "original_exception", None))
        answer = respond(
            Problem(f"urn:picket:problem:{_KINDS.get(status, 'http')}", status.phrase, int(status), *_said(status, error))
        )
        if isinstance(allowed := getattr(error, "valid_methods", None), list):
            answer.headers["Allow"] = ", ".join(sorted(allowed))
        return answer


_KINDS = {
    HTTPStatus.NOT_FOUND: "no-such-address",
    HTTPStatus.METHOD_NOT_ALLOWED: "method",
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE: "too-large",
    HTTPStatus.INTERNAL_SERVER_ERROR: "internal",
}


def _said(status: HTTPStatus, error: HTTPException) -> tuple[str, str, str]:
    """Detail, where and remedy."""
    request = flask.request
    if status is HTTPStatus.NOT_FOUND:
        return f"there is nothing at {request.path[:200]}", "path", "the API's addresses begin with /api/v1/"
    if status is HTTPStatus.METHOD_NOT_ALLOWED:
        return f"{request.path[:200]} does not take {request.method[:20]}", "method", "see the Allow header"
    if status is HTTPStatus.REQUEST_ENTITY_TOO_LARGE:
        limit = flask.current_app.config["MAX_CONTENT_LENGTH"]
        return f"the body is larger than {limit} bytes", "body", "send less"
    if status is HTTPStatus.INTERNAL_SERVER_ERROR:
        return "the control plane failed on this request", "", "see the control plane's log, and report it"
    return error.description or status.phrase, "", ""
