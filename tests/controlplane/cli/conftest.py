"""The command line in this process, against an API on a real Unix socket."""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from controlplane.cli.entry import run
from tests.harness.plane import Plane
from tests.harness.plane import plane as make_plane


@dataclass(frozen=True)
class Result:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """Its answer for programs."""
        return json.loads(self.out)


Picket = Callable[..., Result]


@pytest.fixture(autouse=True)
def plain_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No settings of whoever runs the tests."""
    for name in [name for name in os.environ if name.startswith("PICKET_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PICKET_DATA", str(tmp_path / "data"))


@pytest.fixture
def plane(monkeypatch: pytest.MonkeyPatch) -> Iterator[Plane]:
    """A control plane, found by PICKET_SERVER."""
    with make_plane() as made, made.listening(made.socket) as address:
        monkeypatch.setenv("PICKET_SERVER", address)
        yield made


@pytest.fixture
def picket(capsys: pytest.CaptureFixture[str]) -> Picket:
    """Run a command line."""

    def call(*arguments: str) -> Result:
        capsys.readouterr()
        code = run(arguments)
        captured = capsys.readouterr()
        return Result(code, captured.out, captured.err)

    return call
