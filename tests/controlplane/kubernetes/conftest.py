"""A cluster's API on loopback, for each test of what speaks to it."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.harness.kubeapi import KubernetesApi, running_api


@pytest.fixture
def api() -> Iterator[KubernetesApi]:
    """With nothing in it."""
    with running_api() as running:
        yield running
