"""The key program: writes a key to whoever started it, and to nobody's screen."""

from __future__ import annotations

import os
import pty
import subprocess
import sys

from sidecar import keys


def test_a_key_is_not_written_to_a_terminal() -> None:
    ours, theirs = pty.openpty()
    try:
        done = subprocess.run([sys.executable, "-P", keys.__file__], stdout=theirs, stderr=subprocess.PIPE, text=True, check=False)
    finally:
        os.close(theirs)
        os.close(ours)
    assert done.returncode == 1
    assert "nothing was made" in done.stderr
