"""An API over a real store, called without a socket as its owner would call it over TCP."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from flask.testing import FlaskClient

from tests.harness.plane import TOKEN, Plane
from tests.harness.plane import plane as make_plane


@pytest.fixture
def plane() -> Iterator[Plane]:
    """A control plane that has learned nothing yet."""
    with make_plane() as made:
        yield made


@pytest.fixture
def api(plane: Plane) -> FlaskClient:
    """A caller with the token, named alice."""
    client = plane.app().test_client()
    client.environ_base |= {"HTTP_AUTHORIZATION": f"Bearer {TOKEN}", "HTTP_X_PICKET_ACTOR": "alice", "HTTP_HOST": "localhost:7600"}
    return client
