"""A real SQLite store and what publishes from it, for each test of the workflow."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.policy.rules import Mode
from controlplane.store.sql import SqlStore, open_store
from controlplane.workflow.publish import Change, Publisher
from controlplane.workflow.review import Review
from controlplane.xds.compile import Compiler
from controlplane.xds.tls import Trust
from tests.harness.mesh import NOW_MS, TOPOLOGY, TRUST_DOMAIN


class Clock:
    """A clock that tests move."""

    def __init__(self) -> None:
        self.now_ms = NOW_MS

    def __call__(self) -> int:
        return self.now_ms


@pytest.fixture
def clock() -> Clock:
    """It begins when the harness' events were."""
    return Clock()


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    """An empty SQLite database."""
    opened = open_store(f"sqlite:///{tmp_path}/picket.db")
    yield opened
    opened.close()


@pytest.fixture
def publisher(store: SqlStore) -> Publisher:
    """What is in force in that store."""
    return Publisher(store, TOPOLOGY, Compiler(Trust(TRUST_DOMAIN, b"bundle")), Mode.LEARN)


@pytest.fixture
def changes(publisher: Publisher) -> list[Change]:
    """What the publisher tells of, as it comes."""
    heard: list[Change] = []
    publisher.connect(heard.append)
    return heard


@pytest.fixture
def review(store: SqlStore, publisher: Publisher) -> Review:
    """What a person can do."""
    return Review(store, publisher, lambda: NOW_MS)
