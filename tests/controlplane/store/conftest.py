"""Throw-away databases: an SQLite file, or an empty database in PostgreSQL."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from controlplane.store.sql import SqlStore, open_store
from tests.harness.postgresql import Cluster


@pytest.fixture
def as_superuser(cluster: Cluster) -> Callable[[str], None]:
    """Runs one statement on the cluster."""
    return cluster.execute


@pytest.fixture(params=["sqlite", "postgresql"])
def url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """The URL of an empty database, of each kind in turn."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/picket.db"
    found: str = request.getfixturevalue("postgresql_url")
    return found


@pytest.fixture
def opened(url: str) -> Iterator[Callable[[], SqlStore]]:
    """Opens the database, each time as another control plane would; all are closed afterwards."""
    stores: list[SqlStore] = []

    def another() -> SqlStore:
        stores.append(open_store(url, violation_window_ms=60_000))
        return stores[-1]

    yield another
    for store in stores:
        store.close()


@pytest.fixture
def store(opened: Callable[[], SqlStore]) -> SqlStore:
    """An empty store."""
    return opened()
