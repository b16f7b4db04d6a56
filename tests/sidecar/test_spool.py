"""The spool: reports wait in order until they are acknowledged; what it cannot keep is counted. `test_recovery` has the crashes."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest

from sidecar import segment, spool
from sidecar.batches import MAX_OBSERVATIONS
from sidecar.spool import SpoolError
from tests.sidecar.received import received
from tests.sidecar.spooling import files, open_spool, seen, waiting


async def test_batches_wait_in_order_until_they_are_acknowledged(tmp_path: Path) -> None:
    opened = open_spool(tmp_path / "spool")
    for count in (1, 2, 3):
        assert await opened.append([seen(count)], lost=0, cursor=b"")
    assert waiting(opened) == [(1, 1), (2, 2), (3, 3)]
    assert [sequence for sequence, _ in opened.after(1, 1)] == [2]
    opened.acknowledge(opened.epoch, 2)
    assert waiting(opened) == [(3, 3)]
    assert (opened.first_waiting, opened.waiting_batches) == (3, 1)
    opened.acknowledge(opened.epoch, 3)
    assert (opened.first_waiting, opened.waiting_batches, opened.waiting_bytes) == (4, 0, 0)


async def test_a_restart_sends_what_waits_under_the_same_numbers(tmp_path: Path) -> None:
    first = open_spool(tmp_path)
    await first.append([seen(1)], lost=0, cursor=b"one")
    await first.append([seen(2)], lost=0, cursor=b"two")
    first.acknowledge(first.epoch, 1)
    first.close()
    second = open_spool(tmp_path)
    assert (second.epoch, second.cursor, waiting(second)) == (first.epoch, b"two", [(2, 2)])
    await second.append([seen(3)], lost=0, cursor=b"three")
    assert waiting(second) == [(2, 2), (3, 3)]


async def test_numbers_go_on_after_everything_was_acknowledged(tmp_path: Path) -> None:
    first = open_spool(tmp_path)
    await first.append([seen()], lost=0, cursor=b"end")
    first.acknowledge(first.epoch, 1)
    first.close()
    second = open_spool(tmp_path)
    assert (second.epoch, second.first_waiting, second.waiting_batches, second.cursor) == (first.epoch, 2, 0, b"end")


async def test_a_removed_directory_begins_a_new_epoch(tmp_path: Path) -> None:
    first = open_spool(tmp_path / "spool")
    await first.append([seen()], lost=0, cursor=b"end")
    shutil.rmtree(tmp_path / "spool")
    second = open_spool(tmp_path / "spool")
    assert second.epoch != first.epoch
    assert (second.first_waiting, second.cursor) == (1, b"")


async def test_an_acknowledgement_of_another_epoch_or_of_the_future_changes_nothing(tmp_path: Path) -> None:
    opened = open_spool(tmp_path)
    await opened.append([seen()], lost=0, cursor=b"")
    opened.acknowledge("0" * 32, 1)
    opened.acknowledge(opened.epoch, 2)
    assert waiting(opened) == [(1, 1)]


async def test_who_waits_for_a_batch_is_woken(tmp_path: Path) -> None:
    opened = open_spool(tmp_path)
    await opened.append([seen()], lost=0, cursor=b"")
    await opened.wait_for(0)
    waiter = asyncio.ensure_future(opened.wait_for(1))
    await asyncio.sleep(0)
    assert not waiter.done()
    await opened.append([seen()], lost=0, cursor=b"")
    await waiter


async def test_what_was_damaged_under_the_running_agent_is_given_up_and_counted(tmp_path: Path) -> None:
    opened = open_spool(tmp_path)
    for count in (1, 2, 3):
        await opened.append([seen(count)], lost=0, cursor=b"")
    file = tmp_path / "000000000001.spool"
    content = file.read_bytes()
    file.write_bytes(content.replace(opened.after(1, 1)[0][1], b"?" * len(opened.after(1, 1)[0][1])))
    assert waiting(opened) == [(1, 1), (3, 3)]
    assert (opened.waiting_batches, opened.lost) == (2, 1)
    await opened.append([seen(4)], lost=0, cursor=b"")
    assert [received(body).lost for _, body in opened.after(3, 9)] == [1]
    opened.acknowledge(opened.epoch, 4)
    assert (opened.waiting_batches, opened.waiting_bytes) == (0, 0)


async def test_what_is_too_much_for_a_batch_makes_several_with_one_cursor(tmp_path: Path) -> None:
    opened = open_spool(tmp_path)
    await opened.append([seen()] * (MAX_OBSERVATIONS + 1), lost=0, cursor=b"end")
    assert waiting(opened) == [(1, MAX_OBSERVATIONS), (2, 1)]
    opened.acknowledge(opened.epoch, 1)
    assert (waiting(opened), opened.first_waiting, opened.waiting_batches) == ([(2, 1)], 2, 1)
    assert waiting(open_spool(tmp_path)) == [(1, MAX_OBSERVATIONS), (2, 1)]


async def test_a_loss_alone_is_reported_too_and_nothing_makes_no_batch(tmp_path: Path) -> None:
    opened = open_spool(tmp_path)
    await opened.append([], lost=0, cursor=b"here")
    assert opened.waiting_batches == 0
    await opened.append([], lost=4, cursor=b"there")
    assert [received(body).lost for _, body in opened.after(0, 9)] == [4]
    assert open_spool(tmp_path).cursor == b"there"


async def test_a_full_spool_counts_what_it_does_not_keep(tmp_path: Path) -> None:
    opened = open_spool(tmp_path, max_bytes=3_000)
    kept = 0
    while await opened.append([seen(5, "/" + "x" * 900)], lost=0, cursor=b"kept"):
        kept += 1
    assert not await opened.append([seen(7, "/" + "x" * 900)], lost=2, cursor=b"not kept")
    assert opened.waiting_batches == kept
    again = open_spool(tmp_path, max_bytes=3_000)
    assert (again.lost, again.cursor, again.waiting_batches) == (14, b"not kept", kept)
    again.acknowledge(again.epoch, kept)
    assert await again.append([seen(1)], lost=0, cursor=b"after")
    (sequence, body), *rest = again.after(0, 9)
    assert (sequence, received(body).lost, rest) == (kept + 1, 14, [])
    assert (open_spool(tmp_path).lost, open_spool(tmp_path).cursor) == (0, b"after")


async def test_a_disk_that_does_not_take_a_report_loses_it_countably(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened = open_spool(tmp_path)
    await opened.append([seen(1)], lost=0, cursor=b"one")

    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(segment, "append", full)
        assert not await opened.append([seen(2)], lost=0, cursor=b"two")
    assert await opened.append([seen(3)], lost=0, cursor=b"three")
    assert waiting(opened) == [(1, 1), (2, 3)]
    assert [received(body).lost for _, body in opened.after(1, 9)] == [2]
    assert waiting(open_spool(tmp_path)) == [(1, 1), (2, 3)]


async def test_files_of_acknowledged_batches_are_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "SEGMENT_BYTES", 2_000)
    opened = open_spool(tmp_path)
    for count in range(1, 41):
        await opened.append([seen(count, "/" + "x" * 300)], lost=0, cursor=str(count).encode())
    assert len(files(tmp_path)) > 5
    assert waiting(open_spool(tmp_path)) == [(n, n) for n in range(1, 41)]
    opened.acknowledge(opened.epoch, 40)
    assert len(files(tmp_path)) == 1
    opened.close()
    again = open_spool(tmp_path)
    assert (again.first_waiting, again.cursor) == (41, b"40")


async def test_a_cancelled_append_is_finished_before_the_next(tmp_path: Path) -> None:
    opened = open_spool(tmp_path)
    task = asyncio.ensure_future(opened.append([seen(1)], lost=0, cursor=b""))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await opened.append([seen(2)], lost=0, cursor=b"")
    assert waiting(opened) == [(1, 1), (2, 2)]


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(SpoolError, match="make it a directory"):
        open_spool(tmp_path / "spool")
