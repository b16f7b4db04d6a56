"""The injection webhook as a WSGI application: one path, by which an API server asks. Decides nothing itself, keeps nothing.

Anybody who can reach it may ask: the answer holds nothing but what each injected pod shows.
"""

from __future__ import annotations

from collections.abc import Iterable
from http import HTTPStatus
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog

from controlplane.kubernetes.injection import review
from controlplane.kubernetes.injection.decide import Injected, Refused, Skipped, decide
from controlplane.kubernetes.injection.review import BadReview
from controlplane.kubernetes.injection.rules import Rules

PATH = "/inject"
_log = structlog.get_logger("picket.injection")


def create_webhook(rules: Rules) -> WSGIApplication:
    """The application for these rules."""

    def serve(environ: WSGIEnvironment, start: StartResponse) -> Iterable[bytes]:
        status, kind, body = _respond(environ, rules)
        start(f"{status.value} {status.phrase}", [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    return serve


def _respond(environ: WSGIEnvironment, rules: Rules) -> tuple[HTTPStatus, str, bytes]:
    text = "text/plain; charset=utf-8"
    if environ.get("PATH_INFO") != PATH:
        return HTTPStatus.NOT_FOUND, text, b"reviews of pods are answered at /inject\n"
    if environ.get("REQUEST_METHOD") != "POST" or environ.get("CONTENT_TYPE", "").partition(";")[0] != "application/json":
        return HTTPStatus.BAD_REQUEST, text, b"an AdmissionReview is sent as JSON, by POST\n"
    length = environ.get("CONTENT_LENGTH") or ""
    if not length.isdecimal() or int(length) > review.MAX_REVIEW_BYTES:
        return HTTPStatus.REQUEST_ENTITY_TOO_LARGE, text, b"a review has at most 4 MiB, and says how many bytes\n"
    asked = review.read(environ["wsgi.input"].read(int(length)))
    if isinstance(asked, BadReview):
        _log.warning("no review", reason=asked.reason)
        return HTTPStatus.BAD_REQUEST, text, f"{asked.reason}\n".encode()
    return HTTPStatus.OK, "application/json", _answer(asked, rules)


def _answer(asked: review.PodCreation, rules: Rules) -> bytes:
    metadata = asked.pod["metadata"]
    log = _log.bind(namespace=asked.namespace, pod=metadata.get("name") or metadata.get("generateName"))
    match decide(asked, rules):
        case Injected(patch, warnings):
            if patch:
                log.info("injected", warnings=list(warnings))
            return review.allow(asked.uid, patch, warnings)
        case Skipped(reason):
            log.info("not injected", reason=reason)
            return review.allow(asked.uid)
        case Refused(reason):
            log.warning("refused", reason=reason)
            return review.refuse(asked.uid, reason)
