"""Streams the violations of a query as a file, newest first, page by page. Only a few at once: each holds a thread."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import replace
from http import HTTPStatus
from itertools import islice

import flask

from controlplane import __version__
from controlplane.api.problems import problem
from controlplane.flows.model import Violation
from controlplane.store.interface import Store
from controlplane.store.stored import ViolationFilter
from controlplane.violations.exports import MEDIA_TYPES, Format, lines

MAX_OPEN = 3
#: Violations of one file.
MAX_ROWS = 1_000_000
_PAGE = 1_000
#: Lines of one chunk.
_CHUNK = 200


class Exports:
    """The files that are being written."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._room = threading.Semaphore(MAX_OPEN)

    def respond(self, wanted: ViolationFilter, form: Format, limit: int) -> flask.Response:
        """The file; its length is not known before.

        Raises:
            ApiProblemError: as many are written as may be at once.
        """
        if flask.request.method == "HEAD":
            return flask.Response(content_type=MEDIA_TYPES[form])  # nothing would tell that it is closed
        if not self._room.acquire(blocking=False):
            remedy = "wait until one of them is done"
            raise problem(HTTPStatus.SERVICE_UNAVAILABLE, "busy", f"{MAX_OPEN} exports are running", remedy=remedy)
        written = lines(islice(self._violations(wanted), limit), form, __version__)
        response = flask.Response(_together(written), content_type=MEDIA_TYPES[form])
        response.call_on_close(self._room.release)
        ending = "csv" if form is Format.CSV else "ndjson"
        response.headers["Content-Disposition"] = f'attachment; filename="violations.{ending}"'
        return response

    def _violations(self, wanted: ViolationFilter) -> Iterator[Violation]:
        page = self._store.violation_page(wanted, _PAGE)
        yield from page.violations
        while page.before is not None:
            page = self._store.violation_page(replace(wanted, before=page.before), _PAGE)
            yield from page.violations


def _together(written: Iterator[bytes]) -> Iterator[bytes]:
    """Some lines at a time: each chunk costs a call of the server."""
    while chunk := b"".join(islice(written, _CHUNK)):
        yield chunk
