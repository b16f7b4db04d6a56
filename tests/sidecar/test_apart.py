"""What runs in a process of its own is given its input, and its failure is told without it."""

from __future__ import annotations

from pathlib import Path

import pytest

from sidecar import apart
from sidecar.apart import ApartError, run_apart


def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, program: str) -> None:
    (tmp_path / "part.py").write_text(program)
    monkeypatch.setattr(apart, "__file__", str(tmp_path / "apart.py"))


def test_it_gets_arguments_and_input_and_its_output_comes_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, monkeypatch, "import sys; print(sys.argv[1:], sys.stdin.read()[::-1])")
    assert run_apart("part", ("a", "b c"), b"terces") == b"['a', 'b c'] secret\n"


def test_what_goes_wrong_is_told_and_what_it_was_given_is_not(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    written(tmp_path, monkeypatch, "import sys; sys.exit('cannot')")
    with pytest.raises(ApartError, match=r"^cannot$"):
        run_apart("part", (), b"secret")
    written(tmp_path, monkeypatch, "import time; time.sleep(60)")
    monkeypatch.setattr(apart, "TIMEOUT_SECONDS", 0.2)
    with pytest.raises(ApartError, match=r"^TimeoutExpired$"):
        run_apart("part", (), b"secret")
