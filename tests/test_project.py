"""The project's own papers: versions, changelog and contracts say the same."""

from __future__ import annotations

import re
import tomllib
from pathlib import Path

import pytest

import controlplane
import sidecar

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def project() -> dict[str, object]:
    loaded: dict[str, object] = tomllib.loads((ROOT / "pyproject.toml").read_text())
    return loaded


def test_the_version_is_the_same_everywhere(project: dict[str, dict[str, str]]) -> None:
    assert controlplane.__version__ == sidecar.VERSION == project["project"]["version"]


def test_the_changelog_has_news_or_the_version(project: dict[str, dict[str, str]]) -> None:
    text = (ROOT / "CHANGELOG.md").read_text()
    assert re.search(r"^## \[Unreleased\]$", text, re.MULTILINE)


def test_every_dependency_is_locked(project: dict[str, dict[str, object]]) -> None:
    """What pyproject asks for is in requirements.lock, so that a fresh machine installs nothing else."""
    locked = {line.partition("==")[0].lower() for line in (ROOT / "requirements.lock").read_text().splitlines() if "==" in line}
    asked = list(project["project"]["dependencies"])  # type: ignore[call-overload]  # the file's shape
    for extra in project["project"]["optional-dependencies"].values():  # type: ignore[attr-defined]  # the file's shape
        asked += extra
    names = {re.split(r"[\[<>=!~ ]", name, maxsplit=1)[0].lower() for name in asked}
    assert names <= locked


def test_the_top_level_holds_what_it_should() -> None:
    expected = {"controlplane", "sidecar", "protos", "tests", "pyproject.toml", "README.md", "LICENSE", "Makefile"}
    assert expected <= {path.name for path in ROOT.iterdir()}
