"""A configuration that a real Envoy refuses: it is shown, what was good goes on, and the next good one is taken."""

from __future__ import annotations

import asyncio
import json
import socket
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from controlplane.demo.mesh import Mesh
from controlplane.demo.processes import CONTROL_PLANE
from controlplane.demo.tour import Tour
from controlplane.topology.model import Port
from tests.e2e.meshes import TOWN, eventually, learn, named, put_into, running, sidecars, start_control_plane
from tests.e2e.traffic import Traffic

pytestmark = pytest.mark.e2e
NEW_PORT = 17_071


def serve_one_more_port(mesh: Mesh) -> str:
    """Let the cart have a further port in the topology of the next control plane. Returns the address of its new listener."""
    cart = named(mesh, "cart")
    service = replace(cart.service, ports=(*cart.service.ports, Port(NEW_PORT, "http", NEW_PORT)))
    placed = {**mesh.plan.placed, service.name: replace(cart, service=service)}
    mesh.processes._plan = replace(mesh.plan, placed=placed)
    return cart.address


def shown(mesh: Mesh) -> dict[str, Any]:
    """What `picket sidecars` says of the cart."""
    command = [sys.executable, "-m", "controlplane.cli.entry", "sidecars", "--output", "json", "--server", mesh.plane.server]
    said = json.loads(subprocess.run(command, capture_output=True, check=True).stdout)
    found: dict[str, Any] = next(sidecar for sidecar in said["sidecars"] if sidecar["workload"] == "default/cart")
    return found


async def test_a_listener_whose_address_is_taken_is_refused_and_shown_and_nothing_else_is_lost(tmp_path: Path) -> None:
    """Explicit capture, because there Envoy listens at addresses that somebody else can have."""
    async with running(TOWN, tmp_path, capture="explicit") as mesh:
        await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
        await put_into(mesh, "enforce")
        traffic = Traffic(mesh)
        await traffic.round()

        address = serve_one_more_port(mesh)
        with socket.create_server((address, NEW_PORT)):
            mesh.processes.kill(CONTROL_PLANE)
            await start_control_plane(mesh)

            async def refused() -> bool:
                return (await sidecars(mesh))["default/cart"].state == "nack"

            await eventually(refused)
            cart = await asyncio.to_thread(shown, mesh)
            assert (cart["connected"], cart["nack"]["type"]) == (True, "LDS")
            assert f"{address}:{NEW_PORT}" in cart["nack"]["message"]
            assert cart["acked_version"] != cart["sent_version"]
            await traffic.round()

        mesh.processes.kill(CONTROL_PLANE)
        await start_control_plane(mesh)

        async def taken() -> bool:
            return all(sidecar.state == "ack" for sidecar in (await sidecars(mesh)).values())

        await eventually(taken)
        with pytest.raises(OSError, match="in use"):
            socket.create_server((address, NEW_PORT))
        await traffic.round()
        await traffic.logged()
