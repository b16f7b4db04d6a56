"""Enforcement is proved on a mesh that runs: real sidecars try what is forbidden, and what is let through is an alarm."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from controlplane.api.client import Client
from controlplane.demo.mesh import Mesh
from controlplane.demo.tour import Tour
from tests.e2e.meshes import TOWN, eventually, learn, put_into, running

pytestmark = pytest.mark.e2e


async def get(mesh: Mesh, path: str, **query: str) -> dict[str, Any]:
    found: dict[str, Any] = await asyncio.to_thread(Client(mesh.plane.server).get, f"/api/v1/{path}", query)
    return found


async def counted(mesh: Mesh) -> dict[tuple[str, str, int], int]:
    """How often each edge was used, as far as it is learned."""
    return {(edge.source, edge.destination, edge.port): edge.count for edge in await mesh.plane.learned_edges()}


async def ended(mesh: Mesh, count: int) -> dict[tuple[str, int], dict[str, Any]]:
    """Wait until so many ports were tried; what stands for each."""

    async def all_have() -> bool:
        proofs = (await get(mesh, "proofs"))["proofs"]
        return len(proofs) == count and all(proof["ended_ms"] is not None for proof in proofs)

    await eventually(all_have)
    return {(proof["service"], proof["port"]): proof for proof in (await get(mesh, "proofs"))["proofs"]}


async def test_what_is_enforced_is_tried_by_itself_and_shows_as_a_probe_alone(tmp_path: Path) -> None:
    """HTTP, and servers that the client or the server opens: each denied, each in the log, none of them a blocked connection."""
    async with running(TOWN, tmp_path, capture="explicit") as mesh:
        await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
        used = await counted(mesh)
        await put_into(mesh, "enforce")
        proofs = await ended(mesh, 3)
        assert {proof["status"] for proof in proofs.values()} == {"proven"}, proofs
        assert {proof["deny_id"].partition("@")[0] for proof in proofs.values()} == {
            "deny:default/cart", "deny:default/redis", "deny:default/db",
        }  # fmt: skip
        assert await mesh.plane.violations() == []
        assert (await get(mesh, "violations/count"))["count"] == 0
        shown = {found["id"]: found for found in (await get(mesh, "violations", probes="true"))["violations"]}
        for proof in proofs.values():
            found = shown[proof["violation"]]
            assert (found["probe"], found["verdict"], found["source"]) == (proof["id"], "denied", proof["source"])
        assert await counted(mesh) == used
