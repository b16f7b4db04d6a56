"""The image, built for real: what is in it and what is not, and that control plane and sidecar start from it."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import subprocess
import tempfile
import tomllib
from asyncio.subprocess import Process
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.client import Client
from tests.image.builder import IMAGE, REPOSITORY, Builder

TOPOLOGY = """
services:
- {name: web, kind: service, ports: [], capture: explicit, endpoints: [127.0.10.1]}
"""
SECONDS = 60
pytestmark = pytest.mark.e2e


@pytest.fixture(scope="module")
def container(builder: Builder) -> Iterator[str]:
    """One of it."""
    with builder.container() as name:
        yield name


@pytest.fixture
def shared() -> Iterator[Path]:
    """A directory of the image's user, short enough for sockets."""
    with tempfile.TemporaryDirectory(prefix="pi-") as directory:
        os.chown(directory, 65532, 65532)
        yield Path(directory)


def said(builder: Builder, container: str, *command: str) -> str:
    """What a program of the image prints."""
    done = subprocess.run(builder.run_command(container, command), capture_output=True, text=True, timeout=120, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_image_says_what_it_is(builder: Builder) -> None:
    """Labels, user, command and healthcheck."""
    config: dict[str, Any] = json.loads(builder("inspect", "--type", "image", IMAGE))["Docker"]["config"]
    version = tomllib.loads((REPOSITORY / "pyproject.toml").read_text())["project"]["version"]
    assert config["Labels"]["org.opencontainers.image.version"] == version
    assert config["Labels"]["org.opencontainers.image.licenses"] == "Apache-2.0"
    assert config["User"] == "65532:65532"
    assert config["Cmd"] == ["picket", "controlplane"]
    assert config["Healthcheck"]["Test"] == ["CMD", "picket", "wait", "--timeout", "5"]


def test_nothing_that_builds_or_installs_is_left(builder: Builder, container: str) -> None:
    """No compiler, no pip, no sources; Envoy and nft are there."""
    mounted = Path(builder("mount", container))
    try:
        programs = {
            path.name
            for folder in ("usr/bin", "usr/sbin", "usr/local/bin", "opt/picket/bin")
            for path in (mounted / folder).glob("*")
        }
        assert not {"gcc", "cc", "make", "ld", "pip", "pip3", "uv", "git", "curl"} & programs
        assert {"picket", "picket-sidecar", "nft"} <= programs
        assert list(mounted.glob("opt/picket/lib/python3*/site-packages/envoy/_bin/envoy"))
        assert not list(mounted.glob("opt/picket/lib/python3*/site-packages/pip"))
        assert not list((mounted / "tmp").iterdir())
        assert not (mounted / "src").exists()
    finally:
        builder("umount", container)


def test_the_bill_of_materials_names_what_is_in_it(builder: Builder, container: str) -> None:
    """Every pin of the lock file that was installed, Debian's packages, and Envoy."""
    document = json.loads(said(builder, container, "cat", "/usr/share/picket/sbom.spdx.json"))
    assert document["spdxVersion"] == "SPDX-2.3"
    urls = {item["externalRefs"][0]["referenceLocator"] for item in document["packages"]}
    assert any(url.startswith("pkg:deb/debian/nftables@") for url in urls)
    assert any(url.startswith("pkg:github/envoyproxy/envoy@") for url in urls)
    pins = re.findall(r"^([a-z0-9-]+)==(\S+) \\$", (REPOSITORY / "requirements-image.lock").read_text(), re.MULTILINE)
    assert len(pins) > 40
    assert {f"pkg:pypi/{name}@{version}" for name, version in pins} <= urls
    assert not any(url.startswith(("pkg:pypi/pytest@", "pkg:pypi/mypy@", "pkg:pypi/pip@")) for url in urls)


@asynccontextmanager
async def running(command: list[str]) -> AsyncIterator[Process]:
    """A program of the image, ended afterwards."""
    process = await asyncio.create_subprocess_exec(*command, stderr=asyncio.subprocess.PIPE, start_new_session=True)
    try:
        yield process
    finally:
        with suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGTERM)
        try:
            async with asyncio.timeout(20):
                await process.communicate()
        except TimeoutError:
            os.killpg(process.pid, signal.SIGKILL)
            await process.communicate()


async def line_with(process: Process, words: str) -> str:
    """The first line of its log that holds these words."""
    assert process.stderr is not None
    lines = []
    async with asyncio.timeout(SECONDS):
        while line := (await process.stderr.readline()).decode():
            lines.append(line)
            if words in line:
                return line
    raise AssertionError(f"ended without {words!r}: {''.join(lines)}")


async def test_control_plane_and_sidecar_start_from_it(builder: Builder, container: str, shared: Path) -> None:
    """As the user that has no rights, and the sidecar's Envoy runs what the control plane sent."""
    (shared / "topology.yaml").write_text(TOPOLOGY)
    volumes = {shared: "/shared"}
    plane_command = [
        "picket", "controlplane", "--data", "/shared/data", "--topology", "/shared/topology.yaml", "--grpc-listen", "127.0.0.1:0",
        "--enroll-listen", "127.0.0.1:0", "--api-listen", "127.0.0.1:0",
    ]  # fmt: skip
    async with running(builder.run_command(container, plane_command, volumes=volumes)) as plane:
        listening = json.loads(await line_with(plane, '"ready"'))["listening"]
        address = next(line for line in listening if line.startswith("API")).partition(" ")[2]
        client = Client(address, (shared / "data" / "api-token").read_text().strip(), "test")
        join = await asyncio.to_thread(client.post, "/api/v1/tokens", {"workload": "default/web"})
        file = shared / "web.join"
        file.write_text(json.dumps(join))
        file.chmod(0o600)
        os.chown(file, 65532, 65532)
        sidecar_command = ["picket-sidecar", "--join", "/shared/web.join", "--state", "/shared/web", "--capture", "explicit"]
        async with running(builder.run_command(container, sidecar_command, volumes=volumes)) as sidecar:
            await line_with(sidecar, "picket.agent ready")
            waited = builder.run_command(
                container, ["picket", "wait", "--data", "/shared/data", "--sidecars", "1"], volumes=volumes
            )
            done = await asyncio.to_thread(subprocess.run, waited, capture_output=True, text=True, timeout=SECONDS, check=False)
            assert done.returncode == 0, done.stdout + done.stderr


def test_the_sidecars_first_step_works_from_it(builder: Builder, container: str) -> None:
    """With its own nft, in a network namespace, as root with NET_ADMIN and nothing else of the machine's."""
    namespace = f"picket-test-{os.getpid()}-image"
    subprocess.run(["ip", "netns", "add", namespace], check=True)
    try:
        step = builder.run_command(container, ["picket-sidecar", "init"], user="0:0", options=["--cap-add", "CAP_NET_ADMIN"])
        done = subprocess.run(["ip", "netns", "exec", namespace, *step], capture_output=True, text=True, timeout=120, check=False)
        assert done.returncode == 0, done.stderr
        shown = ["ip", "netns", "exec", namespace, "nft", "list", "table", "inet", "picket"]
        assert "redirect to :15006" in subprocess.run(shown, capture_output=True, text=True, check=True).stdout
    finally:
        subprocess.run(["ip", "netns", "delete", namespace], check=False)
