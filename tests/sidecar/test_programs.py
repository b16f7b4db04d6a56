"""Programs are found as a shell finds them."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from sidecar.programs import find_program


@pytest.fixture
def directories(tmp_path: Path) -> tuple[Path, Path]:
    """Two directories for a search path."""
    made = (tmp_path / "first", tmp_path / "second")
    for directory in made:
        directory.mkdir()
    return made


def program(directory: Path, mode: int = 0o755) -> Path:
    path = directory / "tool"
    path.touch()
    path.chmod(mode)
    return path


def test_the_first_directory_that_has_it_counts(directories: tuple[Path, Path]) -> None:
    search = os.pathsep.join(map(str, directories))
    second = program(directories[1])
    assert find_program("tool", search) == second
    assert find_program("tool", search) == Path(str(shutil.which("tool", path=search)))
    first = program(directories[0])
    assert find_program("tool", search) == first


def test_what_cannot_be_run_is_no_program(directories: tuple[Path, Path]) -> None:
    search = os.pathsep.join(map(str, directories))
    program(directories[0], 0o644)
    (directories[1] / "tool").mkdir()
    assert find_program("tool", search) is None
    assert find_program(str(directories[0] / "tool"), search) is None


def test_a_name_with_a_slash_is_looked_up_nowhere_else(directories: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    made = program(directories[0])
    monkeypatch.chdir(directories[0])
    assert find_program("./tool", str(directories[1])) == made
    assert find_program(str(made), None) == made
    assert find_program("first/tool", str(directories[0].parent)) is None


def test_without_a_search_path_the_systems_own_is_used() -> None:
    assert find_program("sh", None) == Path("/bin/sh")
    assert find_program("sh", "") == Path("/bin/sh")
