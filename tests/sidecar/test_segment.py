"""The spool's files: what was written whole is read, the rest is told apart into torn and damaged."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sidecar import segment
from sidecar.segment import Entry, Found, Head, Rest

HEAD = Head("0" * 32, "shop/cart", "cart-1", 1, 0)
ENTRY = Entry(1, 0, b"cursor", [b"one", b"two"])


def read(path: Path) -> list[segment.Record | Rest]:
    return [item.record if isinstance(item, Found) else item for item in segment.read_file(path)]


def written(path: Path) -> int:
    size = segment.create(path, segment.MAGIC + segment.encode(HEAD))
    return segment.append(path, size, segment.encode(ENTRY))


def test_records_come_back_in_order(tmp_path: Path) -> None:
    path = tmp_path / "a"
    assert written(path) == path.stat().st_size
    assert read(path) == [HEAD, ENTRY]
    assert path.stat().st_mode & 0o777 == 0o600
    assert list(tmp_path.iterdir()) == [path]


def test_a_record_is_found_again_where_it_was(tmp_path: Path) -> None:
    written(tmp_path / "a")
    last = list(segment.read_file(tmp_path / "a"))[-1]
    assert isinstance(last, Found)
    with (tmp_path / "a").open("rb") as file:
        assert segment.read_record(file, last.offset, last.length) == ENTRY
        assert segment.read_record(file, last.offset + 1, last.length) is None


def test_an_append_replaces_what_a_failed_one_left(tmp_path: Path) -> None:
    path = tmp_path / "a"
    size = written(path)
    with path.open("ab") as file:
        file.write(b"half a record")
    segment.append(path, size, segment.encode(ENTRY))
    assert read(path) == [HEAD, ENTRY, ENTRY]


@pytest.mark.parametrize("left", [1, 11, 12, 30])
def test_a_record_that_was_cut_off_is_torn(tmp_path: Path, left: int) -> None:
    path = tmp_path / "a"
    written(path)
    path.write_bytes(path.read_bytes() + segment.encode(ENTRY)[:left])
    assert read(path) == [HEAD, ENTRY, Rest(left, torn=True)]


@pytest.mark.parametrize("at", [0, 4, 8, 12, 20])
def test_a_record_with_a_wrong_byte_is_damaged(tmp_path: Path, at: int) -> None:
    path = tmp_path / "a"
    size = written(path)
    record = bytearray(segment.encode(ENTRY))
    record[at] ^= 0xFF
    path.write_bytes(path.read_bytes() + record + segment.encode(ENTRY))
    assert read(path) == [HEAD, ENTRY, Rest(path.stat().st_size - size, torn=False)]


def test_a_file_that_is_none_is_all_rest(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"something else")
    assert read(tmp_path / "a") == [Rest(14, torn=False)]


def test_a_file_that_cannot_be_made_leaves_nothing(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    with pytest.raises(OSError, match="directory"):
        segment.create(tmp_path / "a", b"content")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@given(content=st.binary(max_size=300))
def test_any_bytes_are_survived(tmp_path_factory: pytest.TempPathFactory, content: bytes) -> None:
    path = tmp_path_factory.getbasetemp() / "any"
    path.write_bytes(segment.MAGIC + content)
    found = list(segment.read_file(path))
    rest = sum(item.size for item in found if isinstance(item, Rest))
    assert len(segment.MAGIC) + rest + sum(item.length for item in found if isinstance(item, Found)) == path.stat().st_size
