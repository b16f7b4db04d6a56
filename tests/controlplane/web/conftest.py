"""The console over a real store, called without a socket as a browser on the same machine would call it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from controlplane.web.app import create_console
from controlplane.web.sessions import Sessions
from tests.controlplane.web.browsing import sign_in
from tests.harness.plane import TOKEN, Plane
from tests.harness.plane import plane as make_plane


@pytest.fixture
def plane() -> Iterator[Plane]:
    """A control plane that has learned nothing yet."""
    with make_plane() as made:
        yield made


@pytest.fixture
def sessions(plane: Plane) -> Sessions:
    """Nobody is signed in."""
    return Sessions(plane.store, lambda: plane.now_ms)


@pytest.fixture
def stranger(plane: Plane, sessions: Sessions) -> FlaskClient:
    """A browser that nobody has signed in with."""
    client = create_console(plane.services(), sessions).test_client()
    client.environ_base |= {"HTTP_HOST": "localhost"}
    return client


@pytest.fixture
def browser(stranger: FlaskClient) -> FlaskClient:
    """A browser whose owner is signed in."""
    assert sign_in(stranger, TOKEN).status_code == 303
    return stranger
