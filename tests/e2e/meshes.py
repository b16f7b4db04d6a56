"""Whole meshes for a test, of the product's own processes: started, changed, and removed whatever became of the test."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from controlplane.api.client import Client
from controlplane.api.schemas import Sidecar
from controlplane.demo import network, preflight, tour
from controlplane.demo.driver import Application
from controlplane.demo.mesh import Mesh
from controlplane.demo.plan import Placed, make_plan
from controlplane.demo.plane import POLL_SECONDS
from controlplane.demo.processes import CONTROL_PLANE, Processes
from controlplane.demo.services.messages import Result
from controlplane.demo.tour import Attempt
from controlplane.demo.traces import Traces, clean_leftovers
from controlplane.topology.document import load_topology
from controlplane.topology.model import ServiceName

#: How long something may take that is going to happen: a busy machine's time, not a goal.
PATIENCE_SECONDS = 60.0
NO_NAMESPACES = network.is_possible()
#: Four ways to be called: HTTP, a client that speaks first, a server that speaks first, and not at all.
TOWN = """
services:
- {name: web, kind: gateway, ports: []}
- {name: cart, kind: service, ports: [{port: 7070, protocol: http}]}
- {name: redis, kind: datastore, ports: [{port: 6379, protocol: redis}]}
- {name: db, kind: datastore, ports: [{port: 3306, protocol: mysql}]}
edges:
- {from: web, to: cart, port: 7070, protocol: http, requests: [{method: GET, path: /}]}
- {from: cart, to: redis, port: 6379, protocol: redis}
- {from: web, to: redis, port: 6379, protocol: redis}
- {from: web, to: db, port: 3306, protocol: mysql}
"""


class _Elsewhere(Processes):
    """The demo's processes, with a control plane that keeps its state in a given database."""

    database = ""

    def _start(self, name: str, command: Sequence[str]) -> None:
        super()._start(name, [*command, "--database", self.database] if name == CONTROL_PLANE else command)


@asynccontextmanager
async def running(
    topology: str, directory: Path, capture: str = "redirect", database: str = "", lay_out: Callable[[Mesh], None] | None = None
) -> AsyncIterator[Mesh]:
    """A mesh in which everything is up and learning. Without a ``database`` (URL) its control plane has its own SQLite file.

    ``lay_out`` makes files that are to be there before anything starts.
    """
    clean_leftovers()
    file = directory / "topology.yaml"
    file.write_text(topology)
    traces = Traces()
    mesh: Mesh | None = None
    try:
        plan = make_plan(load_topology(file), traces.root, capture, traces.run, preflight.lowest_port(capture))
        preflight.check_ports(plan)
        mesh = Mesh(plan, traces)
        if database:
            mesh.processes = _Elsewhere(plan, traces, mesh.processes._certificate)
            mesh.processes.database = database
        if lay_out is not None:
            lay_out(mesh)
        await mesh.start(lambda _: None)
        yield mesh
    finally:
        if mesh is not None:
            await mesh.close()
            mesh.processes.stop()
        traces.clean()


def named(mesh: Mesh, name: str) -> Placed:
    """A service's place."""
    return mesh.plan.placed[ServiceName("default", name)]


async def eventually(reached: Callable[[], Awaitable[bool]], after_seconds: float = 0.0) -> None:
    """Wait for what is going to happen, where it is meant to take a while ``after_seconds``."""
    async with asyncio.timeout(after_seconds + PATIENCE_SECONDS):
        while not await reached():  # noqa: ASYNC110  # asked over the API and sockets, as users do
            await asyncio.sleep(POLL_SECONDS)


# -- what people do ---------------------------------------------------------------------------------------------------


async def _changed(mesh: Mesh, act: Callable[[Client], Any]) -> Any:
    """Do something that changes what sidecars are sent, and wait until they have taken it."""
    before = await mesh.versions()
    said = await asyncio.to_thread(act, Client(mesh.plane.server))
    since = time.monotonic()
    await mesh.wait(CONTROL_PLANE, "obeyed by all", lambda: mesh.settled(before, since), PATIENCE_SECONDS)
    return said


async def learn(mesh: Mesh, attempts: Sequence[Attempt]) -> int:
    """Make calls until they are learned, and approve what is proposed. Returns the revision."""
    waiting = list(attempts)

    async def seen() -> bool:
        nonlocal waiting
        made = await tour.make(waiting, mesh.applications)
        waiting = [attempt for attempt, outcome in made if outcome.result is not Result.ANSWERED]
        edges = {(edge.source, edge.destination, edge.port): edge for edge in await mesh.plane.learned_edges()}
        return not waiting and not tour.unseen((attempt.use for attempt in attempts), edges)

    await eventually(seen)
    proposal = await mesh.plane.open_proposal()
    assert proposal is not None
    return (await mesh.plane.approve(proposal, "seen")).revision


async def put_into(mesh: Mesh, mode: str, service: str = "") -> None:
    """Set the mode of a service, or of all."""
    whom: dict[str, Any] = {"services": [f"default/{service}"]} if service else {"all": True}
    await _changed(mesh, lambda client: client.put("/api/v1/modes", {"mode": mode, "override": "a mesh of a test", **whom}))


async def roll_back(mesh: Mesh, revision: int) -> int:
    """Put a revision's rules into force again. Returns the new revision."""
    said = await _changed(mesh, lambda client: client.post("/api/v1/policy/rollback", {"revision": revision}))
    return int(said["revision"])


# -- what happens to processes ----------------------------------------------------------------------------------------


async def start_control_plane(mesh: Mesh) -> None:
    """Start a killed control plane as the demo did, and wait until it serves."""
    root = mesh.authority_file.parent
    mesh.processes.control_plane(mesh.plane.server, f"unix:{root}/grpc.sock", f"unix:{root}/enroll.sock")
    await eventually(mesh.plane.is_ready)


async def kill_sidecar(mesh: Mesh, place: Placed) -> None:
    """SIGKILL a sidecar, and wait until its application, which ends with it, is gone."""
    mesh.processes.kill(str(place.service.name))
    await mesh.applications[place.service.name].close()

    async def gone() -> bool:
        try:
            _, writer = await asyncio.open_unix_connection(place.control)
        except OSError:
            return True
        writer.close()
        return False

    await eventually(gone)


def _join_file(mesh: Mesh, place: Placed) -> Path:
    return mesh.authority_file.parent / f"join-{place.index:03d}.json"


async def invite(mesh: Mesh, place: Placed) -> None:
    """A new one-time token for a sidecar that has lost its identity."""
    _join_file(mesh, place).write_bytes(await mesh.plane.join_document(str(place.service.workload)))


def start_sidecar(mesh: Mesh, place: Placed) -> Application:
    """Start it again as the demo did. Its application is in the mesh once the caller has connected to it."""
    mesh.processes.service(place, _join_file(mesh, place))
    application = Application(str(place.service.name), place.control)
    mesh.applications = {**mesh.applications, place.service.name: application}
    return application


async def sidecars(mesh: Mesh) -> Mapping[str, Sidecar]:
    """Their states, by workload."""
    return {sidecar.workload: sidecar for sidecar in (await mesh.plane.sidecars()).sidecars}
