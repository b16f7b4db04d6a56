"""The state of sidecars: what streams tell becomes rows in a real store, and a refusal is never forgotten by mistake."""

from __future__ import annotations

import asyncio
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from controlplane.store.interface import StoreError
from controlplane.store.sql import SqlStore
from controlplane.store.stored import GAP_TOLD_MS, SidecarRow
from controlplane.workflow import presence
from controlplane.workflow.presence import Presence
from controlplane.workflow.publish import Publisher
from controlplane.workflow.sidecars import MAX_MESSAGE_CHARACTERS, Announced, SidecarStates, blind_since
from tests.harness.mesh import NOW_MS, until

CART = ("shop/cart", "cart-0")


@pytest.fixture
def states(store: SqlStore) -> SidecarStates:
    """No sidecar yet."""
    return SidecarStates(store, lambda: NOW_MS)


async def row(states: SidecarStates, store: SqlStore) -> SidecarRow:
    """What is stored of the one sidecar."""
    await states.flush()
    (stored,) = store.sidecars()
    return stored


async def test_an_acknowledged_push(states: SidecarStates, store: SqlStore) -> None:
    """What was sent counts at once, what runs only once the whole snapshot is taken."""
    states.connected(*CART, "v1")
    states.sent(*CART, "v2")
    states.acked(*CART, "cds", "v2", 7, settled=False)
    half = await row(states, store)
    assert (half.connected, half.connected_ms, half.sent_version) == (True, NOW_MS, "v2")
    assert (half.acked_version, half.revision) == ("", 0)
    states.acked(*CART, "lds", "v2", 7, settled=True)
    whole = await row(states, store)
    assert (whole.acked_version, whole.revision) == ("v2", 7)


async def test_a_refused_push(states: SidecarStates, store: SqlStore) -> None:
    """It keeps what it ran until it takes that type, or runs the whole of a snapshot; another type's ACK clears nothing."""
    states.connected(*CART, "v1")
    states.acked(*CART, "lds", "v1", 1, settled=True)
    states.nacked(*CART, "lds", "no such filter")
    states.acked(*CART, "cds", "v2", 2, settled=False)
    refused = await row(states, store)
    assert (refused.nack_type, refused.nack_message, refused.nack_ms) == ("lds", "no such filter", NOW_MS)
    assert (refused.acked_version, refused.revision) == ("v1", 1)
    assert states.nacked_count == 1
    states.acked(*CART, "lds", "v3", 3, settled=True)
    mended = await row(states, store)
    assert (mended.nack_type, mended.nack_message, mended.nack_ms) == ("", "", None)
    assert (mended.acked_version, mended.revision) == ("v3", 3)
    assert states.nacked_count == 0


@pytest.mark.parametrize("how", ["acked", "unchanged"])
async def test_a_refusal_is_over_once_the_sidecar_runs_the_whole_of_what_it_is_told(
    states: SidecarStates, store: SqlStore, how: str
) -> None:
    """What it refused is not there any more, or it took it elsewhere: no answer of that type would come to say so."""
    states.connected(*CART, "v1")
    states.nacked(*CART, "sds", "no such name")
    if how == "acked":
        states.acked(*CART, "lds", "v2", 2, settled=True)
    else:
        states.runs(*CART, "v2", 2)
    over = await row(states, store)
    assert (over.nack_type, over.nack_message, over.nack_ms) == ("", "", None)
    assert (over.acked_version, over.revision) == ("v2", 2)


async def test_a_long_refusal_is_cut(states: SidecarStates, store: SqlStore) -> None:
    """A peer's words are bounded."""
    states.nacked(*CART, "cds", "x" * 10_000)
    assert (await row(states, store)).nack_message == "x" * MAX_MESSAGE_CHARACTERS


async def test_a_sidecar_that_connects_again_before_its_old_stream_ends_is_connected(
    states: SidecarStates, store: SqlStore
) -> None:
    """Streams are counted; an end too many does no harm. Refusals of those that are gone do not count."""
    states.connected(*CART, "v1")
    states.connected(*CART, "v1")
    states.nacked(*CART, "cds", "no")
    states.disconnected(*CART)
    assert (states.connected_count, states.nacked_count) == (1, 1)
    states.disconnected(*CART)
    states.disconnected(*CART)
    assert (states.connected_count, states.nacked_count) == (0, 0)
    states.connected(*CART, "v1")
    assert (await row(states, store)).connected is True


async def test_after_a_restart_nobody_is_connected_and_all_else_is_known(
    states: SidecarStates, store: SqlStore, publisher: Publisher
) -> None:
    """What telemetry wrote beside it stays, too."""
    states.connected(*CART, "v1")
    states.announced(*CART, Announced("0.1", "1.36", "redirect", 5_000, "sha256:1", "10.0.0.2"))
    states.acked(*CART, "lds", "v1", 4, settled=True)
    await states.flush()
    with store.transaction() as transaction:
        transaction.record_batch(*CART, "a" * 32, 3, [], 9, NOW_MS)
    before = store.sidecars()[0]
    again = SidecarStates(store, lambda: NOW_MS + 1, "again")
    Presence(store, publisher, "again", lambda: NOW_MS + 1, lambda: None).begin()
    after = await row(again, store)
    assert (before.connected, after.connected) == (True, False)
    assert (after.revision, after.agent_version, after.envoy_version, after.capture) == (4, "0.1", "1.36", "redirect")
    assert (after.image_digest, after.address) == ("sha256:1", "10.0.0.2")
    assert after.certificate_not_after_ms == 5_000
    assert (after.lost, after.blind_since_ms) == (9, NOW_MS)


async def test_sidecars_of_a_control_plane_that_was_taken_for_gone_are_connected_again(
    store: SqlStore, publisher: Publisher, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It could not reach the database for a while; its streams stood all the time, and no state of theirs changed."""
    monkeypatch.setattr(presence, "BEAT_SECONDS", 0.01)
    ours = SidecarStates(store, lambda: NOW_MS, "ours")
    here = Presence(store, publisher, "ours", lambda: NOW_MS, ours.say_again)
    here.begin()
    ours.connected(*CART, "v1")
    ours.connected("shop/cart", "cart-1", "v1")
    ours.disconnected("shop/cart", "cart-1")
    await ours.flush()
    with store.transaction() as transaction:
        transaction.beat("theirs", NOW_MS + 60_000, NOW_MS + 40_000)
    assert not any(row.connected for row in store.sidecars())
    running = [asyncio.create_task(here.run()), asyncio.create_task(ours.run())]
    try:
        await until(lambda: any(row.connected for row in store.sidecars()))
    finally:
        ours.close()
        running[0].cancel()
        await asyncio.wait(running)
    assert [(row.instance, row.connected, row.plane) for row in store.sidecars()] == [
        ("cart-0", True, "ours"), ("cart-1", False, "ours"),
    ]  # fmt: skip


async def test_what_could_not_be_written_is_written_later(states: SidecarStates, store: SqlStore, tmp_path: Path) -> None:
    """Also what changed meanwhile."""

    def rename(before: str, after: str) -> None:
        with closing(sqlite3.connect(tmp_path / "picket.db", isolation_level=None)) as other:
            other.execute(f"ALTER TABLE {before} RENAME TO {after}")

    states.connected(*CART, "v1")
    rename("sidecars", "moved")
    await states.flush()
    states.sent(*CART, "v2")
    rename("moved", "sidecars")
    assert store.sidecars() == []
    stored = await row(states, store)
    assert (stored.connected, stored.sent_version) == (True, "v2")


async def test_the_last_state_is_written_at_the_end(states: SidecarStates, store: SqlStore) -> None:
    """Closing loses nothing."""
    states.connected(*CART, "v1")
    states.close()
    states.disconnected(*CART)
    await states.run()
    assert [stored.connected for stored in store.sidecars()] == [False]
    assert store.sidecars()[0].sent_version == "v1"


async def test_who_is_gone_for_long_is_forgotten_and_whoever_is_here_is_not(states: SidecarStates, store: SqlStore) -> None:
    for instance in ("here", "gone"):
        states.connected("shop/cart", instance, "v1")
    states.disconnected("shop/cart", "gone")
    states.forget(NOW_MS + 1)
    await states.flush()
    assert [(row.instance, row.connected) for row in store.sidecars()] == [("gone", False), ("here", True)]
    states.forget(NOW_MS)
    states.acked("shop/cart", "gone", "cds", "v1", 1, settled=True)
    await states.flush()
    assert [row.revision for row in store.sidecars()] == [1, 0]
    states.forget(NOW_MS + 1)
    states.runs("shop/cart", "gone", "v1", 2)
    states.runs("shop/cart", "here", "v1", 2)
    await states.flush()
    assert [row.revision for row in store.sidecars()] == [1, 2]


async def test_who_is_forgotten_while_the_database_is_away_is_not_written_any_more(
    states: SidecarStates, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Those that could not be written are tried again, and must not be missed then: the control plane would end by it."""

    def forgetting(_: object) -> None:
        states.forget(NOW_MS + 1)
        raise StoreError("the database is busy")

    states.announced(*CART, Announced("0.1", "1.36", "redirect", 0, "", ""))
    monkeypatch.setattr(states, "_write", forgetting)
    await states.flush()
    await states.flush()


async def test_the_roots_that_a_sidecar_took_and_who_signed_for_it(states: SidecarStates, store: SqlStore) -> None:
    """Roots count with the whole snapshot, or when it runs already what other roots ask for."""
    states.connected(*CART, "v1", "key-1")
    assert states.lagging("old") == 1
    states.acked(*CART, "sds", "v1", 1, settled=False, bundle="old")
    assert states.lagging("old") == 1
    states.acked(*CART, "lds", "v1", 1, settled=True, bundle="old")
    assert (states.lagging("old"), states.lagging("new")) == (0, 1)
    stored = await row(states, store)
    assert (stored.bundle, stored.issuer) == ("old", "key-1")
    states.runs(*CART, "v1", 1, "new")
    states.connected(*CART, "v1", "key-2")
    stored = await row(states, store)
    assert (stored.bundle, stored.issuer, states.lagging("new")) == ("new", "key-2", 0)
    states.disconnected(*CART)
    states.disconnected(*CART)
    assert states.lagging("other") == 0


MINUTE_MS = 60_000


@pytest.mark.parametrize(
    ("row", "since"),
    [
        (SidecarRow(*CART, connected=True, connected_ms=NOW_MS - 90 * MINUTE_MS, last_report_ms=NOW_MS - 11 * MINUTE_MS), None),
        (
            SidecarRow(*CART, connected=True, connected_ms=NOW_MS - 90 * MINUTE_MS, last_report_ms=NOW_MS - 31 * MINUTE_MS),
            NOW_MS - 31 * MINUTE_MS,
        ),
        (SidecarRow(*CART, connected=True, connected_ms=NOW_MS - 90 * MINUTE_MS), NOW_MS - 90 * MINUTE_MS),
        (SidecarRow(*CART, connected=True, connected_ms=NOW_MS - MINUTE_MS), None),
        (SidecarRow(*CART, connected=True, connected_ms=NOW_MS - MINUTE_MS, last_report_ms=NOW_MS - 900 * MINUTE_MS), None),
        (SidecarRow(*CART, connected_ms=NOW_MS - 90 * MINUTE_MS, last_report_ms=NOW_MS - 80 * MINUTE_MS), None),
        (SidecarRow(*CART, connected=True, connected_ms=NOW_MS - 9, last_report_ms=NOW_MS, blind_since_ms=7, gap_ms=NOW_MS - 9), 7),
        (SidecarRow(*CART, last_report_ms=NOW_MS, blind_since_ms=7, gap_ms=NOW_MS - GAP_TOLD_MS), 7),
        (SidecarRow(*CART, last_report_ms=NOW_MS, blind_since_ms=7, gap_ms=NOW_MS - GAP_TOLD_MS - 1), None),
    ],
    ids=["quiet", "silent", "never heard", "just come", "come back", "away", "gap", "gap of a day ago", "gap of long ago"],
)
def test_a_sidecar_that_is_connected_and_silent_is_blind(row: SidecarRow, since: int | None) -> None:
    """One that sees nothing says so every ten minutes: who says nothing at all is not quiet."""
    assert blind_since(row, NOW_MS) == since
