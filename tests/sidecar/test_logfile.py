"""Following and cutting the access log: every line comes once, whoever renames, truncates or replaces the file."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sidecar import logfile
from sidecar.logfile import LogFile, Position


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "access.log"


def write(path: Path, *lines: str, end: str = "\n") -> None:
    with path.open("a") as file:
        file.write("".join(line + end for line in lines))


def drain(log: LogFile) -> tuple[list[str], int]:
    """All whole lines that are there, and how many were lost."""
    lines: list[str] = []
    lost = 0
    while True:
        place = log.place
        chunk = log.read()
        lines += chunk.lines.decode().splitlines()
        lost += chunk.lost
        if log.place == place:
            return lines, lost


def position_of(log: LogFile) -> Position:
    position = log.position
    assert position is not None
    return position


def test_lines_come_as_they_are_finished(path: Path) -> None:
    log = LogFile(path)
    assert drain(log) == ([], 0)
    assert log.position is None
    write(path, "one", "two")
    write(path, "thr", end="")
    assert drain(log) == (["one", "two"], 0)
    assert drain(log) == ([], 0)
    write(path, "ee")
    assert drain(log) == (["three"], 0)


def test_reading_goes_on_where_an_earlier_life_ended(path: Path) -> None:
    first = LogFile(path)
    write(path, "one", "two")
    drain(first)
    write(path, "three")
    again = LogFile(path, resume=position_of(first))
    assert drain(again) == (["three"], 0)
    assert position_of(again).offset == path.stat().st_size


def test_a_long_chunk_is_read_piece_by_piece(path: Path) -> None:
    wanted = [f"{n} {'x' * 90}" for n in range(10_000)]
    write(path, *wanted)
    log = LogFile(path)
    log.read()
    assert len(log.read().lines) <= logfile.READ_BYTES
    assert len(drain(LogFile(path))[0]) == 10_000


def test_a_line_longer_than_one_read_is_read(path: Path) -> None:
    write(path, "before", "x" * (2 * logfile.READ_BYTES), "after")
    assert [len(line) for line in drain(LogFile(path))[0]] == [6, 2 * logfile.READ_BYTES, 5]


@pytest.mark.parametrize("length", [logfile.MAX_LINE_BYTES, logfile.MAX_LINE_BYTES + 1, 3 * logfile.MAX_LINE_BYTES])
def test_a_line_without_measure_is_skipped_and_counted(path: Path, length: int) -> None:
    write(path, "before", "x" * length, "after")
    assert drain(LogFile(path)) == (["before", "after"], 1)


def test_a_cut_file_is_read_to_its_end_before_the_new_one(path: Path) -> None:
    log = LogFile(path, cut_bytes=8)
    write(path, "one", "two")
    drain(log)
    assert log.is_due
    log.cut()
    write(path.with_name("access.log.cut"), "three")
    assert drain(log) == (["three"], 0)
    assert log.wants_reopening
    write(path.with_name("access.log.cut"), "four")
    write(path, "five")
    assert drain(log) == (["four", "five"], 0)
    assert path.with_name("access.log.cut").stat().st_ino != position_of(log).inode


def test_a_file_is_not_cut_before_its_time_and_not_twice(path: Path) -> None:
    log = LogFile(path, cut_bytes=8)
    write(path, "one")
    drain(log)
    assert not log.is_due
    write(path, "two")
    drain(log)
    log.cut()
    write(path, "three", "four")
    drain(log)
    assert not log.is_due, "the file that was cut before is still there"
    log.kept(position_of(log))
    assert log.is_due


def test_a_cut_file_goes_only_when_what_is_in_it_is_kept(path: Path) -> None:
    cut = path.with_name("access.log.cut")
    log = LogFile(path, cut_bytes=1)
    write(path, "one")
    drain(log)
    within = position_of(log)
    log.cut()
    log.kept(within)
    assert cut.exists()
    write(path, "two")
    drain(log)
    log.kept(position_of(log))
    assert not cut.exists()


def test_an_agent_that_died_after_the_cut_reads_both_files(path: Path) -> None:
    log = LogFile(path, cut_bytes=1)
    write(path, "one")
    drain(log)
    kept = position_of(log)
    write(path, "two")
    log.cut()
    write(path, "three")
    assert drain(LogFile(path, resume=kept)) == (["two", "three"], 0)


def test_an_agent_that_died_before_the_cut_file_was_removed_does_not_read_it_again(path: Path) -> None:
    log = LogFile(path, cut_bytes=1)
    write(path, "one")
    drain(log)
    log.cut()
    write(path, "two")
    drain(log)
    again = LogFile(path, resume=position_of(log))
    assert drain(again) == ([], 0)
    assert not path.with_name("access.log.cut").exists()


def test_an_agent_that_died_before_envoy_opened_a_new_file_asks_again(path: Path) -> None:
    write(path, "one")
    log = LogFile(path)
    drain(log)
    log.cut()
    again = LogFile(path, resume=position_of(log))
    drain(again)
    assert again.wants_reopening
    write(path, "two")
    assert drain(again) == (["two"], 0)


def test_without_a_position_everything_is_read(path: Path) -> None:
    write(path.with_name("access.log.cut"), "one")
    write(path, "two")
    assert drain(LogFile(path)) == (["one", "two"], 0)


def test_a_file_that_somebody_else_renamed_is_read_to_its_end(path: Path) -> None:
    log = LogFile(path)
    write(path, "one")
    drain(log)
    path.rename(path.with_name("access.log.1"))
    write(path.with_name("access.log.1"), "two")
    write(path, "three")
    assert drain(log) == (["two", "three"], 0)
    assert path.with_name("access.log.1").exists(), "it is not ours to remove"


def test_a_truncated_file_is_read_from_its_start_and_counted_as_a_loss(path: Path) -> None:
    log = LogFile(path)
    write(path, "one", "two")
    drain(log)
    path.write_text("a\n")
    assert drain(log) == (["a"], 1)


def test_a_file_that_went_away_meanwhile_is_counted_as_a_loss(path: Path) -> None:
    write(path, "one")
    log = LogFile(path)
    drain(log)
    kept = position_of(log)
    path.rename(path.with_name("elsewhere"))
    write(path, "two")
    assert drain(LogFile(path, resume=kept)) == (["two"], 1)


def test_another_file_with_the_same_inode_is_not_taken_for_the_old_one(path: Path) -> None:
    write(path, "one", "two")
    log = LogFile(path)
    drain(log)
    kept = position_of(log)
    path.write_text("ONE\nTWO\nthree\n")
    assert path.stat().st_ino == kept.inode
    assert drain(LogFile(path, resume=kept)) == (["ONE", "TWO", "three"], 1)


def test_a_line_that_was_never_finished_is_given_up_at_the_end(path: Path) -> None:
    log = LogFile(path)
    write(path, "one")
    write(path, "tw", end="")
    drain(log)
    assert log.end().lost == 1
    assert log.end().lost == 0
    write(path, "three")
    assert drain(LogFile(path, resume=log.position)) == (["three"], 0)


def test_a_line_that_was_never_finished_in_a_replaced_file_is_lost(path: Path) -> None:
    log = LogFile(path, cut_bytes=1)
    write(path, "one")
    write(path, "tw", end="")
    drain(log)
    log.cut()
    write(path, "three")
    assert drain(log) == (["three"], 1)


@pytest.mark.parametrize("kind", ["symlink", "fifo", "directory"])
def test_what_is_no_plain_file_is_not_opened(path: Path, kind: str) -> None:
    """Envoy's user owns the directory, and must not make the agent read another file or wait for ever."""
    if kind == "symlink":
        path.symlink_to("/etc/passwd")
    elif kind == "fifo":
        os.mkfifo(path)
    else:
        path.mkdir()
    log = LogFile(path)
    assert drain(log) == ([], 1), "what Envoy writes there nobody reads: that is no quiet log"
    assert drain(log) == ([], 0)
    assert log.position is None
    path.rmdir() if kind == "directory" else path.unlink()
    write(path, "one")
    assert drain(log) == (["one"], 0)


def test_a_file_that_is_replaced_by_what_is_no_plain_file_is_counted_as_a_loss(path: Path) -> None:
    """Once for each time; what was written before is read."""
    log = LogFile(path)
    write(path, "one")
    assert drain(log) == (["one"], 0)
    write(path, "two")
    for number, left in enumerate((["two"], [])):
        path.rename(path.with_name(f"older{number}"))
        path.symlink_to("/etc/passwd")
        assert drain(log) == (left, 1)
        assert drain(log) == ([], 0)
        path.unlink()
        write(path, "three")
        assert drain(log) == (["three"], 0)
