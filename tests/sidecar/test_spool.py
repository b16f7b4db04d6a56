"""The spool: nothing is lost or numbered twice by a stop, a crash, a full disk or a damaged file."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from protos.picket.v1 import telemetry_pb2
from sidecar import segment, spool
from sidecar.batches import MAX_OBSERVATIONS
from sidecar.spool import Spool, SpoolError
from tests.sidecar.received import received


def seen(count: int = 1, path: str = "") -> telemetry_pb2.Observation:
    return telemetry_pb2.Observation(
        direction=telemetry_pb2.INBOUND, verdict=telemetry_pb2.DENIED, service="shop/cart", port=80, protocol="http",
        count=count, path=path, first_seen_ms=1, last_seen_ms=2,
    )  # fmt: skip


def open_spool(path: Path, **options: object) -> Spool:
    return Spool.open(path, **{"instance": "cart-1", **options})  # type: ignore[arg-type]  # options are forwarded as they are


def files(directory: Path) -> list[Path]:
    return list(directory.iterdir())


def waiting(opened: Spool) -> list[tuple[int, int]]:
    """(sequence, sum of counts) of each batch that waits."""
    batches = [(sequence, received(body)) for sequence, body in opened.after(0, 1_000)]
    assert all(batch.sequence == sequence and batch.epoch == opened.epoch for sequence, batch in batches)
    return [(sequence, sum(o.count for o in batch.observations)) for sequence, batch in batches]


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


async def test_a_number_that_was_skipped_after_damage_wakes_nobody(tmp_path: Path) -> None:
    opened = open_spool(tmp_path)
    await opened.append([seen()], lost=0, cursor=b"")
    file = tmp_path / "000000000001.spool"
    file.write_bytes(file.read_bytes()[:-1] + b"?")  # a test has nothing else to do meanwhile
    again = open_spool(tmp_path)
    assert again.last_sequence > 1
    waiter = asyncio.ensure_future(again.wait_for(0))
    await asyncio.sleep(0)
    assert not waiter.done()
    await again.append([seen(2)], lost=0, cursor=b"")
    await waiter
    assert waiting(again) == [(again.last_sequence, 2)]


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


async def test_many_observations_are_split_within_the_bounds_of_the_wire(tmp_path: Path) -> None:
    opened = open_spool(tmp_path)
    await opened.append([seen(path="/" + "ä" * 1000) for _ in range(1_500)], lost=3, cursor=b"")
    await opened.append([seen() for _ in range(MAX_OBSERVATIONS + 1)], lost=0, cursor=b"")
    batches = [received(body) for _, body in opened.after(0, 100)]
    assert [len(b.observations) for b in batches[-2:]] == [MAX_OBSERVATIONS, 1]
    assert sum(len(b.observations) for b in batches) == 1_500 + MAX_OBSERVATIONS + 1
    assert [b.lost for b in batches] == [3] + [0] * (len(batches) - 1)


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


async def test_another_instance_takes_over_what_waits_in_an_epoch_of_its_own(tmp_path: Path) -> None:
    first = open_spool(tmp_path)
    for count in (1, 2, 3):
        await first.append([seen(count)], lost=0, cursor=b"here")
    first.acknowledge(first.epoch, 1)
    first.close()
    second = open_spool(tmp_path, instance="cart-2")
    assert second.epoch != first.epoch
    assert (waiting(second), second.cursor) == ([(1, 2), (2, 3)], b"here")
    assert {received(body).instance for _, body in second.after(0, 9)} == {"cart-2"}
    assert len(files(tmp_path)) == 1


async def test_what_another_workload_left_is_dropped(tmp_path: Path) -> None:
    first = open_spool(tmp_path, owner="shop/cart")
    await first.append([seen()], lost=0, cursor=b"here")
    second = open_spool(tmp_path, owner="shop/web")
    assert (second.epoch != first.epoch, waiting(second), second.lost, second.cursor) == (True, [], 0, b"here")


async def test_a_spool_cut_off_at_any_byte_holds_what_was_whole(tmp_path: Path) -> None:
    """A crash during a write leaves any part of it; the batches before it and their cursor stay, and go on being numbered."""
    opened = open_spool(tmp_path / "whole")
    ends = []
    file = tmp_path / "whole" / "000000000001.spool"
    for count in (1, 2, 3):
        await opened.append([seen(count)], lost=0, cursor=str(count).encode())
        ends.append(file.stat().st_size)
    content = file.read_bytes()
    for cut in range(ends[0], len(content) + 1):
        directory = tmp_path / "cut"
        directory.mkdir()
        (directory / file.name).write_bytes(content[:cut])
        again = open_spool(directory)
        whole = sum(cut >= end for end in ends)
        assert waiting(again) == [(n, n) for n in range(1, whole + 1)]
        assert (again.epoch, again.cursor, again.lost) == (opened.epoch, str(whole).encode(), 0)
        await again.append([seen(9)], lost=0, cursor=b"9")
        assert waiting(open_spool(directory)) == [*((n, n) for n in range(1, whole + 1)), (whole + 1, 9)]
        shutil.rmtree(directory)


async def test_a_damaged_byte_costs_what_is_behind_it_and_no_number_is_given_twice(tmp_path: Path) -> None:
    opened = open_spool(tmp_path / "whole")
    for count in (1, 2, 3):
        await opened.append([seen(count)], lost=0, cursor=str(count).encode())
    file = tmp_path / "whole" / "000000000001.spool"
    content = file.read_bytes()
    for at in range(len(content)):
        directory = tmp_path / "damaged"
        directory.mkdir()
        (directory / file.name).write_bytes(content[:at] + bytes([content[at] ^ 0x55]) + content[at + 1 :])
        try:
            again = open_spool(directory)
        except SpoolError:
            assert at in {len(segment.MAGIC) - 2, len(segment.MAGIC) - 1}, "only the version itself"
            shutil.rmtree(directory)
            continue
        kept = waiting(again)
        assert kept == [(n, n) for n in range(1, len(kept) + 1)]
        assert len(kept) < 3
        await again.append([seen(9)], lost=0, cursor=b"9")
        (sequence, body) = again.after(len(kept), 9)[0]
        assert again.epoch != opened.epoch or sequence > 3
        assert received(body).lost == 1
        shutil.rmtree(directory)


async def test_bytes_that_a_power_cut_left_as_zeros_count_as_never_written(tmp_path: Path) -> None:
    opened = open_spool(tmp_path)
    await opened.append([seen(1)], lost=0, cursor=b"1")
    with (tmp_path / "000000000001.spool").open("ab") as file:
        file.write(bytes(4096))
    again = open_spool(tmp_path)
    assert (waiting(again), again.lost, again.last_sequence) == ([(1, 1)], 0, 1)


def test_a_spool_of_another_version_is_refused_with_what_to_do(tmp_path: Path) -> None:
    (tmp_path / "000000000001.spool").write_bytes(b"picket-spool-9\nanything")
    with pytest.raises(SpoolError, match="run that version, or remove"):
        open_spool(tmp_path)


def test_a_path_that_is_no_directory_is_refused(tmp_path: Path) -> None:
    (tmp_path / "spool").write_text("")
    with pytest.raises(SpoolError, match="make it a directory"):
        open_spool(tmp_path / "spool")


@given(files=st.lists(st.binary(max_size=200), max_size=3))
@settings(max_examples=50, deadline=None)
def test_any_bytes_in_the_directory_are_survived(tmp_path_factory: pytest.TempPathFactory, files: list[bytes]) -> None:
    directory = tmp_path_factory.mktemp("spool")
    for number, content in enumerate(files):
        (directory / f"{number:012d}.spool").write_bytes(segment.MAGIC + content)
    (directory / "unkept").write_bytes(files[0] if files else b"")
    opened = open_spool(directory)
    asyncio.run(opened.append([seen(1)], lost=0, cursor=b"1"))
    assert [count for _, count in waiting(open_spool(directory))] == [1]
    shutil.rmtree(directory)
