"""What a person does with a form: load the page, fill it in, send what it holds."""

from __future__ import annotations

import re

from flask.testing import FlaskClient
from werkzeug.test import TestResponse

_KEY = re.compile(r'name="form_key" value="([^"]+)"')


def form_key(client: FlaskClient, path: str) -> str:
    """The key in a page's form."""
    found = _KEY.search(client.get(path).get_data(as_text=True))
    assert found is not None
    return found[1]


def sign_in(client: FlaskClient, token: str) -> TestResponse:
    """Sign in with a token."""
    return client.post("/sign-in", data={"form_key": form_key(client, "/sign-in"), "token": token})
