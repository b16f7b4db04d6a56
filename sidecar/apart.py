"""Runs a part of the sidecar in a process of its own, for what would cost the agent memory. Knows nothing of what it does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

TIMEOUT_SECONDS = 30.0


class ApartError(Exception):
    """The process failed; the message says how."""


def run_apart(module: str, arguments: Sequence[str] = (), given: bytes = b"") -> bytes:
    """What ``sidecar/MODULE.py`` writes to standard output, of what it is ``given`` on standard input. Blocks for about 0.1 s.

    Raises:
        ApartError: it cannot be started, takes too long, or failed.
    """
    program = Path(__file__).with_name(f"{module}.py")
    try:
        # -P: the program's own directory must not hide other packages' names.
        made = subprocess.run(
            [sys.executable, "-P", str(program), *arguments], input=given, capture_output=True, timeout=TIMEOUT_SECONDS, check=True
        )
    except subprocess.CalledProcessError as error:
        raise ApartError(error.stderr.decode("utf-8", "replace").strip()[-300:]) from error
    except (OSError, subprocess.TimeoutExpired) as error:
        raise ApartError(type(error).__name__) from error
    return made.stdout
