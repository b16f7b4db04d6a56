"""ETags: whoever polls is told in a few bytes that nothing changed. Never spares making the answer.

Source: https://www.rfc-editor.org/rfc/rfc9110#section-8.8.3
"""

from __future__ import annotations

import hashlib
from http import HTTPStatus

import flask


def install(app: flask.Flask) -> None:
    """Tag every answer to a GET by its content, and leave it out where the caller has it."""

    @app.after_request
    def tag(response: flask.Response) -> flask.Response:
        request = flask.request
        if request.method not in {"GET", "HEAD"} or response.status_code != HTTPStatus.OK or response.is_streamed:
            return response
        response.set_etag(hashlib.blake2b(response.get_data(), digest_size=16).hexdigest())
        response.make_conditional(request)
        return response
