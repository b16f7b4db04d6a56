"""A whole sidecar with a real Envoy, its identity from a Workload API: no join file, rotation without a restart, the API away."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest

from controlplane.store.sql import SqlStore
from tests.harness.directories import short_directory
from tests.harness.mesh import CART, TRUST_DOMAIN, Mesh, running_mesh
from tests.harness.workloadapi import Api, serving, svid
from tests.sidecar.agents import EXPLICIT, application, get, running_sidecar
from tests.sidecar.uplinks import opened_store
from tests.sidecar.waiting import until

pytestmark = pytest.mark.e2e
URI = CART.uri(TRUST_DOMAIN)


@pytest.fixture
def directory() -> Iterator[Path]:
    with short_directory() as made:
        yield made


@pytest.fixture
def store(directory: Path) -> Iterator[SqlStore]:
    with opened_store(directory) as opened:
        yield opened


@pytest.fixture
async def mesh(directory: Path, store: SqlStore) -> AsyncIterator[Mesh]:
    """A control plane whose authority stands in for SPIRE's."""
    async with running_mesh(directory, store, topology=EXPLICIT) as running:
        yield running


@pytest.fixture
async def api(directory: Path) -> AsyncIterator[Api]:
    async with serving(directory / "api.sock") as made:
        yield made


def command(directory: Path, mesh: Mesh, api: Api) -> list[str]:
    return [
        sys.executable, "-m", "sidecar.main", "--identity", "workload-api", "--workload-api", f"unix://{api.path}",
        "--control-plane", mesh.socket, "--workload", str(CART), "--trust-domain", TRUST_DOMAIN,
        "--state", str(directory / "state"), "--capture", "explicit", "--instance", "cart-1", "--report-interval-seconds", "0.2",
        *(["--app-user", "65534:65534"] if os.geteuid() == 0 else []), "--", *application(),
    ]  # fmt: skip


def announced(mesh: Mesh) -> int:
    """The end of the certificate that the sidecar uses, as it told; 0 before."""
    return mesh.heard.announced[-1][1].certificate_not_after_seconds if mesh.heard.announced else 0


async def test_it_serves_and_takes_each_identity_without_a_restart_of_envoy(directory: Path, mesh: Mesh, api: Api) -> None:
    line = command(directory, mesh, api)
    async with running_sidecar(directory, line) as sidecar:
        await sidecar.says(f"register this process as {URI}")
        assert "envoy started" in sidecar.log
        assert (await get())[0] == 0, "without an identity and a configuration nothing passes"
        api.give([svid(mesh.authority, URI, lifetime=timedelta(minutes=10))])
        await sidecar.says("listening")
        assert (await get())[0] == 200
        envoy, first = sidecar.pid_of("envoy"), announced(mesh)
        api.give([svid(mesh.authority, URI, lifetime=timedelta(hours=1))])
        await until(lambda: announced(mesh) > first + 600)
        assert (await get())[0] == 200
        assert sidecar.pid_of("envoy") == envoy
        assert "envoy refused" not in sidecar.log
        await api.stop()
        await sidecar.says("no identity from the Workload API", times=2)
        assert (await get())[0] == 200
        assert await sidecar.end() == 7
    kept = directory / "state" / "identity.json"
    assert stat.S_IMODE(kept.stat().st_mode) == 0o600
    async with running_sidecar(directory, line) as again:
        await again.says("identity=disk")
        await again.says("listening")
        assert (await get())[0] == 200
        assert await again.end() == 7
