"""The console of a mesh that has lived for ten days, on a real port, and a browser before it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest
from playwright.sync_api import Browser, expect

from controlplane.web.sessions import Sessions
from tests.browser.browsers import PATIENCE_MS, Reader, chromium, reader
from tests.harness.boutique import console, lived
from tests.harness.plane import Plane


@dataclass(frozen=True)
class Site:
    """The control plane, where its console is, and who is signed in there."""

    plane: Plane
    address: str
    sessions: Sessions


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    """One browser for the tests of a file; each reader has a profile of their own.

    It is closed after the last of them: while it runs, an event loop of its own keeps asynchronous tests from running.
    """
    expect.set_options(timeout=PATIENCE_MS)
    with chromium() as started:
        yield started


@pytest.fixture(scope="session")
def database() -> Iterator[Path]:
    """What happened in the ten days before each test."""
    with lived() as made:
        yield made


@pytest.fixture
def site(database: Path) -> Iterator[Site]:
    """A console whose state is this test's alone."""
    with console(database) as (plane, address, sessions):
        yield Site(plane, address, sessions)


@pytest.fixture
def owner(browser: Browser, site: Site) -> Iterator[Reader]:
    """The owner, signed in by a link."""
    with reader(browser, site.address) as made:
        made.sign_in_by(f"{site.address}/sign-in/once/{site.sessions.new_link()}")
        yield made
