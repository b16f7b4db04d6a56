"""The state directory on disk: made, guarded against others, locked for one agent. Knows nothing of what is in its files."""

from __future__ import annotations

import fcntl
import os
import stat
import time
from pathlib import Path

from sidecar.settings import StatePaths

#: An Envoy of an agent that was killed holds the lock until it has ended too.
LOCK_WAIT_SECONDS = 5.0
_POLL_SECONDS = 0.05


class StateError(Exception):
    """The state directory cannot be used; the message says what to do."""


def prepare(paths: StatePaths, envoy_user: tuple[int, int] | None) -> int:
    """Make the directory and take its lock. Blocks for at most `LOCK_WAIT_SECONDS`.

    Returns the lock's file descriptor: whoever holds it open holds the lock.

    Raises:
        StateError: not a directory, somebody else's, open to others, or another sidecar's.
    """
    try:
        paths.root.mkdir(mode=0o700, parents=True, exist_ok=True)
        _check(paths.root, {os.geteuid()}, "--state")
        lock = _lock(paths.lock)
        paths.envoy.mkdir(mode=0o700, exist_ok=True)
        _check(paths.envoy, {os.geteuid(), (envoy_user or (os.geteuid(), 0))[0]}, "--state")
        if envoy_user is not None:
            os.chown(paths.envoy, *envoy_user, follow_symlinks=False)
    except OSError as error:
        raise StateError(f"--state: {error.filename or paths.root}: {error.strerror}") from error
    return lock


def was_cut_off(paths: StatePaths) -> bool:
    """Whether the agent that had the directory last did not come to its end: the lock still names it. Ask before `prepare`."""
    try:
        return bool(paths.lock.read_bytes())
    except FileNotFoundError:
        return False
    except OSError as error:
        raise StateError(f"--state: {paths.lock}: {error.strerror}") from error


def come_to_an_end(lock: int) -> None:
    """Everything that this agent had to keep is kept: the lock names nobody any more, though it is held until Envoy has ended."""
    os.ftruncate(lock, 0)


def _check(directory: Path, owners: set[int], option: str) -> None:
    found = directory.lstat()
    if not stat.S_ISDIR(found.st_mode):
        raise StateError(f"{option}: {directory}: not a directory")
    if found.st_uid not in owners:
        raise StateError(f"{option}: {directory} belongs to user {found.st_uid}, and the sidecar runs as {os.geteuid()}; chown it")
    if found.st_mode & 0o022:
        raise StateError(f"{option}: {directory} can be written by others, who could become this sidecar; chmod go-w it")


def _lock(path: Path) -> int:
    handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    deadline = time.monotonic() + LOCK_WAIT_SECONDS
    while True:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        except BlockingIOError as error:
            if time.monotonic() > deadline:
                holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip()
                os.close(handle)
                raise StateError(f"--state: {path.parent} is in use by another sidecar (process {holder or 'unknown'})") from error
            time.sleep(_POLL_SECONDS)
    os.ftruncate(handle, 0)
    os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
    return handle
