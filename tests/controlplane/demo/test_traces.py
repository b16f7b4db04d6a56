"""What a demo leaves is found and removed, and nothing else is."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from controlplane.demo import network
from controlplane.demo.traces import Traces, clean_leftovers, start_ticks


@pytest.fixture(autouse=True)
def _own_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Runs of this test only see each other."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    yield
    clean_leftovers()


_CRASHING = """
import os, subprocess, sys
from controlplane.demo.traces import Traces
traces = Traces()
child = subprocess.Popen(["sleep", "600"], start_new_session=True, stdin=-3, stdout=-3, stderr=-3)
traces.started(child.pid)
print(traces.root, child.pid, flush=True)
os.kill(os.getpid(), 9)
"""


def crashed_run() -> tuple[Path, int]:
    """A run that was killed with SIGKILL: its directory, and a process of it that lives on."""
    environment = os.environ | {"TMPDIR": tempfile.gettempdir()}
    done = subprocess.run([sys.executable, "-c", _CRASHING], capture_output=True, text=True, env=environment, check=False)
    assert done.returncode == -signal.SIGKILL
    root, pid = done.stdout.split()
    return Path(root), int(pid)


def test_a_run_cleans_up_after_itself() -> None:
    """Its processes end and its directory goes."""
    traces = Traces()
    child = subprocess.Popen(["sleep", "600"])
    traces.started(child.pid)
    traces.clean()
    assert child.wait() == -signal.SIGTERM
    assert not traces.root.exists()


def test_what_a_crash_left_is_removed_by_the_next_run() -> None:
    """Processes and directory."""
    root, pid = crashed_run()
    assert start_ticks(pid)
    assert clean_leftovers() == 1
    assert not root.exists()
    assert not start_ticks(pid) or Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"


def test_a_run_that_lives_is_left_alone() -> None:
    """Its lock says so."""
    traces = Traces()
    child = subprocess.Popen(["sleep", "600"])
    traces.started(child.pid)
    assert clean_leftovers() == 0
    assert traces.root.exists()
    assert child.poll() is None
    traces.clean()
    child.wait()


def test_a_process_with_a_number_that_was_used_again_is_left_alone() -> None:
    """Only the process that was written down is ended: number and start must fit."""
    traces = Traces()
    stranger = subprocess.Popen(["sleep", "600"])
    (traces.root / "processes").write_text(f"{stranger.pid} 1\n")
    traces.clean()
    assert stranger.poll() is None
    stranger.terminate()
    stranger.wait()


def test_damaged_notes_do_not_stop_the_cleaning() -> None:
    """A crash in the middle of a line leaves half of one."""
    traces = Traces()
    (traces.root / "processes").write_bytes(b"12\n\nx y\n\xff\xfe 9\n4")
    traces.clean()
    assert not traces.root.exists()


def test_a_directory_that_somebody_else_could_have_made_is_left_alone(tmp_path: Path) -> None:
    """By a link, or by writing into it, another user could name the processes that root's next demo ends."""
    victim = subprocess.Popen(["sleep", "600"])
    planted = tmp_path / "planted"
    planted.mkdir()
    (planted / "processes").write_text(f"{victim.pid} {start_ticks(victim.pid)}\n")
    link = tmp_path / "picket-demo-link"
    link.symlink_to(planted)
    assert clean_leftovers() == 0
    link.unlink()
    planted.chmod(0o777)
    writable = planted.rename(tmp_path / "picket-demo-open")
    assert clean_leftovers() == 0
    assert victim.poll() is None
    assert sorted(file.name for file in writable.iterdir()) == ["processes"]
    victim.terminate()
    victim.wait()


def test_others_cannot_hold_the_lock_of_a_run() -> None:
    """Who can open the file can lock it, and a crashed run would look alive for ever."""
    traces = Traces()
    assert (traces.root / "lock").stat().st_mode & 0o777 == 0o600
    traces.clean()


@pytest.mark.skipif(bool(network.is_possible()), reason=f"no network namespaces here: {network.is_possible()}")
def test_namespaces_of_a_crashed_run_are_removed_with_all_that_is_in_them() -> None:
    """Also processes that nobody wrote down."""
    root, _ = crashed_run()
    run = f"{network.PREFIX}{root.name.removeprefix('picket-demo-')}"
    network.create(run, [(f"{run}-1", "10.211.0.3")])
    inside = subprocess.Popen(["ip", "netns", "exec", f"{run}-1", "sleep", "600"])
    while "sleep" not in Path(f"/proc/{inside.pid}/comm").read_text():
        pass  # until `ip` has become it: before, it is not inside yet
    assert clean_leftovers() == 1
    assert inside.wait(10) < 0
    assert not network.namespaces(run)
