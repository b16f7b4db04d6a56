"""What a demo made on this machine, written down before it is made, so that a later run can remove what a crash left.

Ends only processes that it wrote down itself, and only while they are still the same process.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import signal
import stat
import tempfile
import time
from pathlib import Path

from controlplane.demo import network

ROOT_PREFIX = "picket-demo-"
_STOP_SECONDS = 8.0


def start_ticks(pid: int) -> str:
    """When a process began (clock ticks since boot), so that a reused number is not mistaken for it; empty when gone."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return ""
    return status.rpartition(")")[2].split()[19]


class Traces:
    """One run's directory and its list of processes. The directory is locked while the run lives."""

    def __init__(self) -> None:
        self.root = Path(tempfile.mkdtemp(prefix=ROOT_PREFIX))
        self.root.chmod(0o711)
        self.run = f"{network.PREFIX}{self.root.name.removeprefix(ROOT_PREFIX)}"
        # Nobody else may hold the lock, or a crashed run would look alive for ever.
        self._lock = os.fdopen(os.open(self.root / "lock", os.O_WRONLY | os.O_CREAT | os.O_CLOEXEC, 0o600), "w")
        fcntl.flock(self._lock, fcntl.LOCK_EX)

    def started(self, pid: int) -> None:
        """Remember a process."""
        with (self.root / "processes").open("a") as file:
            file.write(f"{pid} {start_ticks(pid)}\n")

    def clean(self) -> None:
        """Remove everything of this run."""
        _clean(self.root)
        self._lock.close()


def clean_leftovers() -> int:
    """Remove what runs that ended without cleaning up have left. Returns how many there were."""
    found = 0
    for root in sorted(Path(tempfile.gettempdir()).glob(f"{ROOT_PREFIX}*")):
        if not _is_own(root):
            continue
        try:
            with (root / "lock").open("a") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                found += 1
                _clean(root)
        except (BlockingIOError, FileNotFoundError):
            continue  # that run lives, or is being cleaned up by somebody else
    return found


def _is_own(root: Path) -> bool:
    """Whether it is a directory of this user: others may write beside it, and a link of theirs would name processes to end."""
    try:
        found = root.lstat()
    except FileNotFoundError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o022


def _clean(root: Path) -> None:
    processes = _noted(root / "processes")
    run = f"{network.PREFIX}{root.name.removeprefix(ROOT_PREFIX)}"
    has_namespaces = shutil.which("ip") is not None and os.geteuid() == 0
    for number in (signal.SIGTERM, signal.SIGKILL):
        processes = [(pid, ticks) for pid, ticks in processes if _alive(pid, ticks)]
        for pid, _ in processes:
            _signal(pid, number)
        deadline = time.monotonic() + _STOP_SECONDS
        while time.monotonic() < deadline and any(_alive(pid, ticks) for pid, ticks in processes):
            time.sleep(0.02)
    if has_namespaces:
        network.remove(network.namespaces(f"{run}-"))
    shutil.rmtree(root, ignore_errors=True)


def _noted(file: Path) -> list[tuple[int, str]]:
    """Process numbers and starts; a crash may have left half a line, which is nobody's."""
    try:
        lines = file.read_bytes().decode("ascii", "replace").splitlines()
    except OSError:
        return []
    parts = [line.split() for line in lines]
    return [(int(part[0]), part[1]) for part in parts if len(part) == 2 and all(text.isdecimal() for text in part)]


def _alive(pid: int, ticks: str) -> bool:
    if start_ticks(pid) != ticks:
        return False
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


def _signal(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return
