"""A protocol in which the server speaks first: a denied peer is told nothing, and the server hears of nobody."""

from __future__ import annotations

import ssl
from pathlib import Path

import pytest

from controlplane.demo.mesh import Mesh
from controlplane.demo.plan import Placed
from controlplane.demo.services.tunnel import stolen_context
from controlplane.demo.tour import Tour
from tests.e2e.connections import connected
from tests.e2e.meshes import NO_NAMESPACES, TOWN, learn, named, put_into, running

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(NO_NAMESPACES), reason=f"no network namespaces here: {NO_NAMESPACES}")]


async def greeting(place: Placed, dialled: tuple[str, int], tls: ssl.SSLContext | None = None) -> bytes:
    """What a silent client hears there; a connection that is not even made says nothing."""
    try:
        async with connected(place, dialled, tls) as connection:
            return await connection.heard()
    except OSError:
        return b""


async def connections(mesh: Mesh, service: str) -> int:
    """How many connections the application has seen."""
    seen = await mesh.applications[named(mesh, service).service.name].received()
    return sum(seen.marked.values()) + sum(seen.unmarked.values())


async def test_a_denied_peer_of_a_server_that_speaks_first_hears_not_one_byte(tmp_path: Path) -> None:
    """Not through its own sidecar, nor around it, with its identity or without: and the application sees no connection."""
    async with running(TOWN, tmp_path) as mesh:
        await learn(mesh, Tour(mesh.plan, mesh.authority_file).expected())
        await put_into(mesh, "enforce")
        db = next(use for use in mesh.plan.expected() if use.destination.name == "db")
        before = await connections(mesh, "db")
        stolen = {name.name: stolen_context(s.identity_file, s.peers_file) for name, s in mesh.steal().items()}
        intruder, at_db = mesh.plan.intruders[0], mesh.plan.endpoint(db)

        assert await greeting(named(mesh, "cart"), mesh.plan.dialled(db)) == b""
        assert await greeting(intruder, at_db, stolen["cart"]) == b""
        assert await greeting(intruder, at_db) == b""
        assert await connections(mesh, "db") == before

        assert b"8.4.0-demo" in await greeting(named(mesh, "web"), mesh.plan.dialled(db))
        assert b"8.4.0-demo" in await greeting(intruder, at_db, stolen["web"])
        assert await connections(mesh, "db") == before + 2

        reported = {(v.source, v.direction) for v in await mesh.plane.violations() if v.destination == "default/db"}
        assert reported >= {("default/cart", "out"), ("default/cart", "in"), (f"ip:{intruder.address}", "in")}
