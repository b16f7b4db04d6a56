"""The configuration on disk: read back whole or not at all, and written so that a crash leaves the old or the new."""

from __future__ import annotations

import asyncio
import errno
import stat
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import lastgood
from sidecar.lastgood import LastGoodError, Resources, Writer, decode, encode, load, save
from tests.sidecar.waiting import until

OWNER = "spiffe://picket.test/ns/shop/sa/cart"
KEPT: Resources = {"type/a": {"one": b"1", "two": b""}, "type/b": {}}
BY_NAME = st.dictionaries(st.text(max_size=20), st.binary(max_size=50), max_size=5)
RESOURCES = st.dictionaries(st.text(max_size=20), BY_NAME, max_size=5)


@given(RESOURCES, st.text(max_size=50))
def test_what_was_kept_is_read_back(resources: Resources, owner: str) -> None:
    assert decode(encode(owner, resources), owner) == resources


@given(st.integers(0, len(encode(OWNER, KEPT)) - 1), st.integers(1, 255))
def test_a_changed_byte_makes_it_nothing(position: int, change: int) -> None:
    content = bytearray(encode(OWNER, KEPT))
    content[position] ^= change
    assert isinstance(decode(bytes(content), OWNER), str)


@given(st.integers(0, len(encode(OWNER, KEPT)) - 1))
def test_a_part_of_it_is_nothing(length: int) -> None:
    assert isinstance(decode(encode(OWNER, KEPT)[:length], OWNER), str)


@given(st.binary(max_size=200))
def test_any_body_behind_a_right_checksum_is_read_or_refused_in_words(body: bytes) -> None:
    header = lastgood._HEADER.pack(zlib.crc32(body), len(body))
    assert isinstance(decode(lastgood._MAGIC + header + body, OWNER), str | dict)


def test_another_workloads_configuration_is_not_used() -> None:
    assert "belongs to" in str(decode(encode("spiffe://picket.test/ns/shop/sa/web", KEPT), OWNER))


def test_too_many_resources_of_a_type_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lastgood, "MAX_RESOURCES_OF_A_TYPE", 1)
    assert "more than 1 resources" in str(decode(encode(OWNER, KEPT), OWNER))


def test_missing_damaged_and_oversized_files_count_as_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "last-good"
    assert load(path, OWNER) == {}
    path.write_bytes(b"something else")
    assert load(path, OWNER) == {}
    save(path, encode(OWNER, KEPT))
    assert load(path, OWNER) == KEPT
    monkeypatch.setattr(lastgood, "MAX_FILE_BYTES", 10)
    assert load(path, OWNER) == {}
    with pytest.raises(LastGoodError, match="at most 10"):
        save(path, encode(OWNER, KEPT))
    assert load(tmp_path, OWNER) == {}  # a directory


def test_the_file_is_the_agents_alone_and_replaced_in_one_step(tmp_path: Path) -> None:
    path = tmp_path / "last-good"
    save(path, b"old")
    with path.open("rb") as reader:
        save(path, b"new")
        assert reader.read() == b"old"  # whoever reads meanwhile sees a whole file
    assert path.read_bytes() == b"new"
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [file.name for file in tmp_path.iterdir()] == ["last-good"]


def test_a_directory_that_is_gone_is_told(tmp_path: Path) -> None:
    with pytest.raises(LastGoodError, match="cannot be written: No such file"):
        save(tmp_path / "gone" / "last-good", b"new")


def test_a_disk_that_is_full_keeps_the_file_before_and_no_part_of_the_new_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The part would take the space that reports need."""
    save(tmp_path / "last-good", b"old")

    def full(_: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(LastGoodError, match="No space left on device"):
        save(tmp_path / "last-good", b"new")
    assert [(path.name, path.read_bytes()) for path in tmp_path.iterdir()] == [("last-good", b"old")]


async def test_changes_that_follow_closely_are_written_once(tmp_path: Path) -> None:
    written: list[bytes] = []

    def content() -> bytes:
        written.append(b"x")
        return b"x"

    writer = Writer(tmp_path / "last-good", content)
    running = asyncio.create_task(writer.run())
    for _ in range(50):
        writer.changed()
        await asyncio.sleep(0)
    await until((tmp_path / "last-good").exists)
    running.cancel()
    await asyncio.wait({running})
    assert len(written) == 1


async def test_the_last_change_is_on_disk_after_a_flush_although_the_writer_was_cancelled(tmp_path: Path) -> None:
    numbers: Iterator[int] = iter(range(1000))
    writer = Writer(tmp_path / "last-good", lambda: str(next(numbers)).encode())
    running = asyncio.create_task(writer.run())
    writer.changed()
    await asyncio.sleep(lastgood.DEBOUNCE_SECONDS)
    writer.changed()
    running.cancel()
    await asyncio.wait({running})
    assert await writer.flush()
    last = (tmp_path / "last-good").read_bytes()
    assert await writer.flush()
    assert (tmp_path / "last-good").read_bytes() == last
    assert int(last) == next(numbers) - 1


async def test_what_could_not_be_written_is_tried_again(tmp_path: Path) -> None:
    directory = tmp_path / "later"
    writer = Writer(directory / "last-good", lambda: b"x")
    writer.changed()
    assert not await writer.flush()
    directory.mkdir()
    assert await writer.flush()
    assert (directory / "last-good").read_bytes() == b"x"
