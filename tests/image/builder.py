"""Builds the image as root on Debian, without an engine and without a registry: the base comes from debootstrap.

What a build leaves stays in a directory of the caller's; the base is kept below `build/`, because making it takes minutes.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

REPOSITORY = Path(__file__).resolve().parents[2]
BASE_ARCHIVE = REPOSITORY / "build" / "image-base.tar"
IMAGE = "localhost/picket:test"
#: What a build needs to know of this machine's way to Debian and to Python's packages.
_HANDED_IN = ("/etc/ssl/certs", "/etc/pip.conf", "/etc/apt/apt.conf.d/90proxy")
BUILD_SECONDS = 540
#: The release that debootstrap makes the base of, where it and the Dockerfile's apt-get look.
SUITE, MIRROR = "bookworm", "http://deb.debian.org/debian"
#: The storage driver `vfs` keeps each step as a whole copy.
NEEDED_BYTES = 6 * 2**30
_ANSWER_SECONDS = 20


def lacking() -> str:
    """What a build would need and is not here; empty where it can be made."""
    found = []
    if os.geteuid() != 0:
        found.append("root")
    found += [program for program in ("buildah", "debootstrap", "ip", "nft") if shutil.which(program) is None]
    places = {tempfile.gettempdir(), str(REPOSITORY)}
    found += [
        f"{NEEDED_BYTES >> 30} GiB free in {place}" for place in sorted(places) if shutil.disk_usage(place).free < NEEDED_BYTES
    ]
    release = f"{MIRROR}/dists/{SUITE}/InRelease"
    if not found and not answers(release):
        found.append(f"a Debian mirror ({release} gives no answer)")
    return ", ".join(found)


def answers(url: str) -> bool:
    """Whether a file can be had in one of the ways that a build takes: debootstrap's, and apt's with its own proxy."""
    with tempfile.TemporaryDirectory(prefix="picket-image-") as directory:
        ways = (
            ["wget", "--quiet", "--tries=1", f"--timeout={_ANSWER_SECONDS}", f"--output-document={directory}/by-wget", url],
            [
                "/usr/lib/apt/apt-helper", "-o", f"Acquire::http::Timeout={_ANSWER_SECONDS}", "-o", "Acquire::Retries=0",
                "download-file", url, f"{directory}/by-apt",
            ],
        )  # fmt: skip
        return any(_succeeds(way) for way in ways if shutil.which(way[0]) is not None)


def _succeeds(command: list[str]) -> bool:
    try:
        return subprocess.run(command, capture_output=True, check=False, timeout=3 * _ANSWER_SECONDS).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def base_name() -> str:
    """The base image that the Dockerfile begins from."""
    named = re.search(r"^ARG BASE=(\S+)$", (REPOSITORY / "Dockerfile").read_text(), re.MULTILINE)
    assert named is not None
    return named[1]


class Builder:
    """buildah with a store of its own."""

    def __init__(self, directory: Path) -> None:
        self._prefix = [
            "buildah", "--root", str(directory / "storage"), "--runroot", str(directory / "run"), "--storage-driver", "vfs",
        ]  # fmt: skip

    def command(self, *arguments: str) -> list[str]:
        """A buildah command line."""
        return [*self._prefix, *arguments]

    def __call__(self, *arguments: str) -> str:
        """Run one, and give what it says."""
        done = subprocess.run(self.command(*arguments), capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
        assert done.returncode == 0, f"buildah {arguments[0]}: {done.stdout[-2000:]}{done.stderr[-2000:]}"
        return done.stdout.strip()

    def import_base(self) -> None:
        """Put Debian with Python under the name that the Dockerfile uses."""
        if not BASE_ARCHIVE.exists():
            _debootstrap()
        container = self("from", "scratch")
        self("add", "-q", container, str(BASE_ARCHIVE), "/")
        self("commit", "-q", "--rm", container, base_name())

    def build(self) -> None:
        """The image, from the repository as it is."""
        volumes = [text for path in _HANDED_IN if Path(path).exists() for text in ("--volume", f"{path}:{path}:ro")]
        self(
            "bud", "--isolation", "chroot", "--format", "docker", "--layers=false", "--pull-never", *volumes, "--tag", IMAGE,
            str(REPOSITORY),
        )  # fmt: skip

    @contextmanager
    def container(self) -> Iterator[str]:
        """A container of the image, removed afterwards."""
        name = self("from", "--pull-never", IMAGE)
        try:
            yield name
        finally:
            self("rm", name)

    def run_command(
        self, container: str, command: Sequence[str], *, user: str = "65532:65532", volumes: Mapping[Path, str] | None = None,
        options: Sequence[str] = (),
    ) -> list[str]:  # fmt: skip
        """How a program of the image is started."""
        shared = [text for source, target in (volumes or {}).items() for text in ("--volume", f"{source}:{target}")]
        return self.command("run", "--isolation", "chroot", "--user", user, *shared, *options, container, "--", *command)


def _debootstrap() -> None:
    BASE_ARCHIVE.parent.mkdir(exist_ok=True)
    root = BASE_ARCHIVE.with_name(f"image-base.{os.getpid()}")
    archive = root.with_suffix(f".{os.getpid()}.tar")
    try:
        packages = "--include=python3,python3-venv,ca-certificates"
        command = ["debootstrap", "--variant=minbase", packages, SUITE, str(root), MIRROR]
        made = subprocess.run(command, capture_output=True, text=True, timeout=BUILD_SECONDS, check=False)
        assert made.returncode == 0, made.stdout[-2000:] + made.stderr[-2000:]
        subprocess.run(["tar", "-C", str(root), "--exclude=./var/cache/apt/archives/*.deb", "-cf", str(archive), "."], check=True)
        archive.replace(BASE_ARCHIVE)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        archive.unlink(missing_ok=True)
