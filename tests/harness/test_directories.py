"""Short directories go with their test, and those of a run that was killed with the next one."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.harness.directories import leftovers, short_directory

_KILLED = """
import os, signal
from tests.harness.directories import short_directory
with short_directory("killed") as made:
    (made / "file").touch()
    print(made, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_one_is_removed_with_what_is_in_it() -> None:
    with short_directory("own") as made:
        (made / "file").touch()
        assert f"-{os.getpid()}-" in made.name
        assert made not in leftovers(made.parent)
    assert not made.exists()


def test_what_a_killed_run_left_is_removed_by_the_next() -> None:
    ended = subprocess.run([sys.executable, "-c", _KILLED], capture_output=True, text=True, check=False)
    left = Path(ended.stdout.strip())
    assert left.name.startswith("picket-tests-killed-"), ended.stderr
    with short_directory("own"):
        assert not left.exists()


def test_names_of_others_are_left_alone(tmp_path: Path) -> None:
    for name in ("picket-tests-own", "picket-tests-a-x-b", "picket-run-1"):
        (tmp_path / name).mkdir()
    assert leftovers(tmp_path) == []
