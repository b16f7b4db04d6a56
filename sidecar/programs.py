"""Finds programs as a shell does. Starts none.

`shutil.which` would do, and brings three compression libraries into the agent's memory.
"""

from __future__ import annotations

import os
from pathlib import Path


def find_program(name: str, search: str | None) -> Path | None:
    """The absolute path of a program that this user can run: ``name`` itself where it has a slash, else the first in ``search``.

    ``search`` is a list of directories as in PATH; where it is missing or empty, the system's own.
    """
    directories = [""] if "/" in name else (search or os.defpath).split(os.pathsep)
    for directory in directories:
        candidate = Path(directory, name).absolute()
        if candidate.is_file() and os.access(candidate, os.X_OK):
            return candidate
    return None
