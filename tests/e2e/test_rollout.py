"""Staged rollouts on a mesh that runs: what real Envoys deny or refuse puts the service back to the mode that it had."""

from __future__ import annotations

import asyncio
import socket
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.client import Client
from controlplane.demo import tour
from controlplane.demo.mesh import Mesh
from controlplane.demo.processes import CONTROL_PLANE
from controlplane.demo.services.messages import Result
from controlplane.demo.tour import Tour
from tests.e2e.meshes import TOWN, eventually, learn, running, start_control_plane
from tests.e2e.test_refused_by_envoy import NEW_PORT, serve_one_more_port

pytestmark = pytest.mark.e2e


async def begun(mesh: Mesh) -> None:
    """The cart's only sidecar enforces, and is watched for long."""
    body = {"services": ["default/cart"], "hold_seconds": 3_600, "override": "a mesh of a test, with nothing to lose"}
    await asyncio.to_thread(Client(mesh.plane.server).post, "/api/v1/rollouts", body)

    async def taken() -> bool:
        return (await newest(mesh))["taken_ms"] is not None

    await eventually(taken)


async def newest(mesh: Mesh) -> dict[str, Any]:
    said = await asyncio.to_thread(Client(mesh.plane.server).get, "/api/v1/rollouts", {"all": "true"})
    found: dict[str, Any] = said["rollouts"][0]
    return found


async def rolled_back(mesh: Mesh) -> str:
    """Wait until it is taken back; returns why."""

    async def is_back() -> bool:
        return bool((await newest(mesh))["status"] == "rolled-back")

    await eventually(is_back)
    reason: str = (await newest(mesh))["reason"]
    return reason


async def test_a_call_that_the_first_stage_denies_takes_it_back(tmp_path: Path) -> None:
    """Before the stage and after it the same call is answered."""
    async with running(TOWN, tmp_path, capture="explicit") as mesh:
        made = Tour(mesh.plan, mesh.authority_file)
        await learn(mesh, [attempt for attempt in made.expected() if attempt.use.source.name != "web"])
        to_cart = [attempt for attempt in made.expected() if attempt.use.destination.name == "cart"]

        async def answered() -> bool:
            return all(outcome.result is Result.ANSWERED for _, outcome in await tour.make(to_cart, mesh.applications))

        assert await answered()
        await begun(mesh)
        assert not await answered()
        assert await rolled_back(mesh) == "denied connections: 1, at most 0 may be"
        await eventually(answered)


async def test_a_push_that_envoy_refuses_takes_it_back_after_a_restart_too(tmp_path: Path) -> None:
    """The control plane ends in the middle of a stage; the next one goes on, and hears the refusal."""
    async with running(TOWN, tmp_path, capture="explicit") as mesh:
        await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
        await begun(mesh)
        with socket.create_server((serve_one_more_port(mesh), NEW_PORT)):
            mesh.processes.kill(CONTROL_PLANE)
            await start_control_plane(mesh)
            assert "refused it: LDS" in await rolled_back(mesh)
