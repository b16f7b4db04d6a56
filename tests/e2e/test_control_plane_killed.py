"""A mesh whose control plane is killed under traffic, and a sidecar with it: nothing passes, fails or is forgotten."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from controlplane.demo import preflight, tour
from controlplane.demo.mesh import Mesh
from controlplane.demo.plan import Placed
from controlplane.demo.processes import CONTROL_PLANE
from controlplane.demo.services.messages import Result
from controlplane.demo.tour import Tour
from tests.e2e import meshes
from tests.e2e.connections import reaches
from tests.e2e.meshes import NO_NAMESPACES, TOWN, learn, named, put_into, running
from tests.e2e.traffic import Traffic, flowing
from tests.harness.postgresql import cluster, database, postgresql_url  # noqa: F401  # fixtures

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(NO_NAMESPACES), reason=f"no network namespaces here: {NO_NAMESPACES}")]
BOOKINFO = (Path(preflight.__file__).parent / "topologies" / "bookinfo.yaml").read_text()


async def enforced(mesh: Mesh) -> Traffic:
    """Learn what is declared, approve and enforce it."""
    await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
    await put_into(mesh, "enforce")
    return Traffic(mesh)


@pytest.mark.parametrize(("topology", "kind"), [(BOOKINFO, "sqlite"), (TOWN, "postgresql")], ids=["sqlite", "postgresql"])
async def test_a_killed_control_plane_costs_no_enforcement_no_request_and_no_violation(
    topology: str, kind: str, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """kill -9 under traffic, twice: nothing unexpected arrives, nothing expected fails, and the log is whole when it is back."""
    url = "" if kind == "sqlite" else request.getfixturevalue("postgresql_url")
    async with running(topology, tmp_path, database=url) as mesh:
        traffic = await enforced(mesh)
        async with flowing(traffic):
            await traffic.rounds_more(1)
            for _ in range(2):
                mesh.processes.kill(CONTROL_PLANE)
                await traffic.rounds_more(2)
                await meshes.start_control_plane(mesh)
                await traffic.rounds_more(1)
        await traffic.logged()
        assert (mesh.authority_file.parent / "controlplane" / "picket.db").exists() == (kind == "sqlite")
        assert all(sidecar.blind_since_ms is None for sidecar in (await meshes.sidecars(mesh)).values())


async def test_a_sidecar_that_is_started_without_a_control_plane_enforces_from_disk_or_lets_nothing_pass(tmp_path: Path) -> None:
    """With its state it enforces, and its reports arrive later, those from before it was killed too; without, it is closed."""
    async with running(TOWN, tmp_path) as mesh:
        traffic = await enforced(mesh)
        redis = named(mesh, "redis")
        mesh.processes.kill(CONTROL_PLANE)
        await traffic.round()
        await meshes.kill_sidecar(mesh, redis)
        await meshes.start_sidecar(mesh, redis).connect()
        await traffic.round()
        await meshes.start_control_plane(mesh)
        await traffic.logged()

        mesh.processes.kill(CONTROL_PLANE)
        await meshes.kill_sidecar(mesh, redis)
        shutil.rmtree(redis.state)
        meshes.start_sidecar(mesh, redis)
        await is_closed(mesh, redis)
        mesh.processes.kill(str(redis.service.name))
        await meshes.start_control_plane(mesh)
        await meshes.invite(mesh, redis)
        await meshes.start_sidecar(mesh, redis).connect()
        await Traffic(mesh).round()


async def is_closed(mesh: Mesh, place: Placed) -> None:
    """Nothing gets in that is declared, and nothing out, also past the application that does not run yet."""

    async def enrolling() -> bool:
        return "enroll" in mesh.processes.last_words(str(place.service.name))

    await meshes.eventually(enrolling)
    others = {name: application for name, application in mesh.applications.items() if name != place.service.name}
    calls = [a for a in Tour(mesh.plan, mesh.authority_file).expected() if a.use.destination == place.service.name]
    assert {outcome.result for _, outcome in await tour.make(calls, others)} <= {Result.CLOSED, Result.UNREACHABLE, Result.TIMEOUT}
    port = place.service.ports[0].target
    assert not await reaches(mesh.plan.intruders[0], place, port)
    assert not await reaches(place, mesh.plan.intruders[0], port)
    assert await reaches(mesh.plan.intruders[0], mesh.plan.intruders[1], port)
