"""Directories outside of pytest's own: with a path that leaves room for sockets, and open to others where the tests open them.

Whoever makes one removes what an earlier run that was killed left behind: the process that made a directory is in its name.
"""

from __future__ import annotations

import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

#: Short, for a socket's path has at most 107 bytes; the system's own may be anywhere.
PLACE = Path("/tmp")  # mkdtemp makes them, for their owner only
_PREFIX = "picket-tests-"
_NAME = re.compile(rf"{_PREFIX}[a-z]+-(\d+)-\w+")


@contextmanager
def short_directory(purpose: str = "own") -> Iterator[Path]:
    """A directory that is removed afterwards; ``purpose`` is a word for its name."""
    for left in leftovers(PLACE):
        shutil.rmtree(left, ignore_errors=True)  # another run may be at it, too
    made = Path(tempfile.mkdtemp(prefix=f"{_PREFIX}{purpose}-{os.getpid()}-", dir=PLACE))
    try:
        yield made
    finally:
        shutil.rmtree(made)


def leftovers(place: Path) -> list[Path]:
    """Directories of processes that have ended without removing them."""
    named = ((path, _NAME.fullmatch(path.name)) for path in place.glob(f"{_PREFIX}*"))
    return [path for path, found in named if found is not None and not _runs(int(found[1]))]


def _runs(process: int) -> bool:
    try:
        os.kill(process, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True
