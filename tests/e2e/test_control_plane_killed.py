"""A whole mesh under traffic while its control plane, and a sidecar with it, are killed. Uses the demo's processes and calls."""

from __future__ import annotations

import asyncio
import os
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from controlplane.demo import network, preflight, tour
from controlplane.demo.driver import Application
from controlplane.demo.mesh import CONTROL_PLANE_TIMEOUT_SECONDS, Mesh
from controlplane.demo.plan import make_plan
from controlplane.demo.plane import POLL_SECONDS
from controlplane.demo.processes import CONTROL_PLANE
from controlplane.demo.progress import Progress
from controlplane.demo.report import Report
from controlplane.demo.reviewer import Reviewer
from controlplane.demo.services.messages import Result
from controlplane.demo.stages import Stages
from controlplane.demo.tour import Tour
from controlplane.demo.traces import Traces
from controlplane.topology.document import load_topology
from controlplane.topology.model import ServiceName

TOPOLOGY = Path(preflight.__file__).parent / "topologies" / "bookinfo.yaml"
ROUNDS_WHILE_AWAY = 5
REPORTS_SECONDS = 60.0
pytestmark = [
    pytest.mark.e2e,
    pytest.mark.skipif(bool(network.is_possible()), reason=f"needs network namespaces: {network.is_possible() or 'they are here'}"),
]


@asynccontextmanager
async def enforced_mesh() -> AsyncIterator[tuple[Mesh, Tour]]:
    """Bookinfo, learned, approved and enforced by the demo's own stages."""
    traces = Traces()
    mesh: Mesh | None = None
    try:
        plan = make_plan(load_topology(TOPOLOGY), traces.root, "redirect", traces.run, preflight.lowest_port("redirect"))
        mesh = Mesh(plan, traces)
        progress, report = Progress(), Report(topology="bookinfo", capture="redirect")
        await Stages(mesh, progress, report, Reviewer(progress, approve_all=True)).run()
        assert report.clean, report
        yield mesh, Tour(plan, mesh.authority_file)
    finally:
        if mesh is not None:
            await mesh.close()
            mesh.processes.stop()
        traces.clean()


def control_plane(mesh: Mesh) -> None:
    """Start it as the demo did."""
    root = mesh.authority_file.parent
    mesh.processes.control_plane(mesh.plane.server, f"unix:{root}/grpc.sock", f"unix:{root}/enroll.sock")


async def gone(control: Path) -> None:
    """Wait until the application of a killed sidecar, which dies with it, listens no more."""
    async with asyncio.timeout(20):
        while True:
            try:
                _, writer = await asyncio.open_unix_connection(control)
            except OSError:
                return
            writer.close()
            await asyncio.sleep(POLL_SECONDS)


async def denials(mesh: Mesh) -> Counter[tuple[str, str, int]]:
    """How often each pair was denied at its source, as the log has it."""
    found: Counter[tuple[str, str, int]] = Counter()
    for violation in await mesh.plane.violations():
        if violation.verdict == "denied" and violation.direction == "out":
            found[violation.source, violation.destination, violation.port] += violation.count
    return found


async def traffic(mesh: Mesh, calls: Tour, attempted: Counter[tuple[str, str, int]]) -> None:
    """One round of every declared request among every pair that is no edge; counts the latter."""
    expected, unexpected = calls.expected(), calls.unexpected()
    made = await tour.make(tour.mixed(expected, unexpected), mesh.applications)
    failed = [f"{attempt}: {outcome}" for attempt, outcome in made if attempt.expected and outcome.result is not Result.ANSWERED]
    assert not failed
    assert not (await tour.ask(mesh.applications)).anywhere(unexpected)
    attempted.update((attempt.source, str(attempt.use.destination), attempt.use.port) for attempt in unexpected)


async def test_a_killed_control_plane_costs_no_enforcement_no_request_and_no_violation() -> None:
    """kill -9 under traffic: nothing unexpected arrives, nothing expected fails, and the log is whole when it is back."""
    async with enforced_mesh() as (mesh, calls):
        before, attempted = await denials(mesh), Counter[tuple[str, str, int]]()
        under_way = asyncio.create_task(traffic(mesh, calls, attempted))
        await asyncio.sleep(0.2)
        mesh.processes.kill(CONTROL_PLANE)
        await under_way
        for _ in range(ROUNDS_WHILE_AWAY):
            await traffic(mesh, calls, attempted)
        under_way = asyncio.create_task(traffic(mesh, calls, attempted))
        control_plane(mesh)
        await under_way
        await mesh.wait(CONTROL_PLANE, "ready", mesh.plane.is_ready, CONTROL_PLANE_TIMEOUT_SECONDS)
        await traffic(mesh, calls, attempted)
        async with asyncio.timeout(REPORTS_SECONDS):
            while await denials(mesh) != before + attempted:  # noqa: ASYNC110  # the log is asked over its API, as users do
                await asyncio.sleep(POLL_SECONDS)
        assert all(sidecar.blind_since_ms is None for sidecar in (await mesh.plane.sidecars()).sidecars)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, for namespaces")
async def test_a_sidecar_that_is_started_again_without_a_control_plane_comes_up_enforcing() -> None:
    """From its disk; its reports arrive when the control plane is back."""
    async with enforced_mesh() as (mesh, calls):
        victim = ServiceName("default", "reviews")
        place = mesh.plan.placed.get(victim) or next(p for p in mesh.plan.meshed if p.service.ports)
        name = place.service.name
        before, attempted = await denials(mesh), Counter[tuple[str, str, int]]()
        mesh.processes.kill(CONTROL_PLANE)
        mesh.processes.kill(str(name))
        await mesh.applications[name].close()
        await gone(place.control)
        mesh.processes.service(place, mesh.authority_file.parent / f"join-{place.index:03d}.json")
        again = Application(str(name), place.control)
        mesh.applications = {**mesh.applications, name: again}
        await again.connect()
        await traffic(mesh, calls, attempted)
        control_plane(mesh)
        await mesh.wait(CONTROL_PLANE, "ready", mesh.plane.is_ready, CONTROL_PLANE_TIMEOUT_SECONDS)
        async with asyncio.timeout(REPORTS_SECONDS):
            while await denials(mesh) != before + attempted:  # noqa: ASYNC110  # the log is asked over its API, as users do
                await asyncio.sleep(POLL_SECONDS)
