"""What a crash, a power cut or a damaged disk leaves of a spool: whole batches stay, and no number is given twice."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sidecar import segment
from sidecar.spool import SpoolError
from tests.sidecar.received import received
from tests.sidecar.spooling import files, open_spool, seen, waiting


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
