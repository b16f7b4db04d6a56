"""The authority of a running control plane: where it may be rotated, who hears of it, and what is measured."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.identity.directory import AuthorityDirectory
from controlplane.identity.generations import Step
from controlplane.identity.schedule import Waits
from controlplane.metrics import Metrics
from controlplane.rotating import Rotating
from controlplane.settings import build_settings
from controlplane.store.sql import SqlStore, open_store
from controlplane.workflow.revisions import Refused
from controlplane.workflow.rotation import Rotated


@pytest.fixture
def store(tmp_path: Path) -> Iterator[SqlStore]:
    opened = open_store(f"sqlite:///{tmp_path}/picket.db")
    yield opened
    opened.close()


async def rotating(tmp_path: Path, store: SqlStore, **settings: str) -> Rotating:
    custody = AuthorityDirectory(tmp_path / "ca", "picket.local")
    return Rotating(build_settings(data=tmp_path, topology="t", **settings), store, custody, await custody.load())  # type: ignore[arg-type]  # texts


async def test_a_step_that_the_api_asks_for_is_heard_by_all_and_measured(tmp_path: Path, store: SqlStore) -> None:
    made, metrics = await rotating(tmp_path, store), Metrics()
    made.measure(metrics, len)
    trusted: list[bytes] = []
    told = asyncio.Event()
    made.begin(trusted.append, told.set)
    outcome = await asyncio.to_thread(made.take, Step.PREPARE, "alice", "", now=False)
    assert isinstance(outcome, Rotated)
    async with asyncio.timeout(20):
        await told.wait()
    assert trusted == [made.authority.bundle_pem]
    assert made.state().generations == outcome.generations
    shown = metrics.render().decode()
    assert "picket_ca_roots 2.0" in shown
    assert "picket_sidecars_bundle_outdated 24.0" in shown
    ends = made.authority.generations.active.certificate.not_valid_after_utc.timestamp()
    assert float(shown.split("\npicket_ca_not_after_seconds ")[1].split("\n")[0]) == ends


async def test_on_a_shared_database_copies_of_the_authority_are_not_rotated_and_one_in_one_place_is(
    tmp_path: Path, store: SqlStore, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each control plane would make a root of its own."""
    monkeypatch.setattr(store, "is_shared", True)
    copies = await rotating(tmp_path, store)
    copies.begin(lambda _: None)
    refused = await asyncio.to_thread(copies.take, Step.PREPARE, "alice", "", now=False)
    assert isinstance(refused, Refused)
    assert "--ca-directory" in refused.reason
    waits = copies.state().next
    assert isinstance(waits, Waits)
    assert waits.at is None
    shared = await rotating(tmp_path, store, ca_directory=str(tmp_path / "ca"))
    shared.begin(lambda _: None)
    assert isinstance(await asyncio.to_thread(shared.take, Step.PREPARE, "alice", "", now=False), Rotated)
