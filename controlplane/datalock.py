"""One control plane per data directory: two would not hear of each other's approvals. Knows nothing of what is in its files."""

from __future__ import annotations

import fcntl
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

LOCK_FILE = "lock"


class DataInUseError(Exception):
    """Another control plane has the directory; the message says which."""


@contextmanager
def locked(data: Path) -> Iterator[None]:
    """Hold the directory; the system lets go of it when the process ends, however that happens.

    Raises:
        DataInUseError: another process holds it.
        OSError: the lock's file cannot be made.
    """
    handle = os.open(data / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            holder = os.pread(handle, 20, 0).decode("ascii", "replace").strip() or "unknown"
            raise DataInUseError(
                f"{data}: another control plane (process {holder}) runs there; stop it, or choose another directory with --data"
            ) from error
        os.ftruncate(handle, 0)
        os.pwrite(handle, f"{os.getpid()}\n".encode(), 0)
        yield
    finally:
        os.close(handle)
