"""A real store and a short directory for sockets, for each test of the gRPC side."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from controlplane.store.sql import SqlStore, open_store
from tests.harness.directories import short_directory
from tests.harness.mesh import Mesh, running_mesh


@pytest.fixture
def directory() -> Iterator[Path]:
    """Not under pytest's own: a socket's path has at most 107 bytes."""
    with short_directory("mesh") as made:
        yield made


@pytest.fixture
def store(directory: Path) -> Iterator[SqlStore]:
    """An empty SQLite database."""
    opened = open_store(f"sqlite:///{directory}/picket.db")
    yield opened
    opened.close()


@pytest.fixture
async def mesh(directory: Path, store: SqlStore) -> AsyncIterator[Mesh]:
    """The gRPC side over TLS."""
    async with running_mesh(directory, store) as running:
        yield running
