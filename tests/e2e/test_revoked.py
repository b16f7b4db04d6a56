"""What is approved works and what is revoked ends, on a mesh that runs: open connections, new ones, quarantine."""

from __future__ import annotations

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from controlplane.demo import tour
from controlplane.demo.driver import Markers
from controlplane.demo.mesh import Mesh
from controlplane.demo.services.messages import Result
from controlplane.demo.tour import Attempt, Tour
from controlplane.policy.evaluate import parse_deny_id
from tests.e2e.connections import connected
from tests.e2e.meshes import NO_NAMESPACES, PATIENCE_SECONDS, TOWN, eventually, learn, named, put_into, roll_back, running

pytestmark = [pytest.mark.e2e, pytest.mark.skipif(bool(NO_NAMESPACES), reason=f"no network namespaces here: {NO_NAMESPACES}")]
PONG = b"+PONG\r\n"


async def refused(mesh: Mesh, attempts: list[Attempt]) -> list[Attempt]:
    """Which of these calls do not arrive, as the applications count them; nothing may be answered without having arrived."""
    made = await tour.make(attempts, mesh.applications)
    arrived = await tour.ask(mesh.applications)
    assert all(arrived.at_its_destination(attempt) for attempt, outcome in made if outcome.result is Result.ANSWERED)
    return [attempt for attempt in attempts if not arrived.anywhere([attempt])]


async def denied(mesh: Mesh, source: str, destination: str) -> dict[int, int]:
    """How often a pair was denied at its source, by the revision in the denial's name."""
    found: Counter[int] = Counter()
    for violation in await mesh.plane.violations():
        ends = violation.source, violation.destination, violation.direction
        if ends == (f"default/{source}", f"default/{destination}", "out") and (name := parse_deny_id(violation.deny_id)):
            found[name.revision] += violation.count
    return found


def calls(tour_: Tour, *pairs: str) -> list[Attempt]:
    """Declared calls, new ones each time, by `source destination`."""
    by_pair = {f"{attempt.use.source.name} {attempt.use.destination.name}": attempt for attempt in tour_.expected()}
    return [by_pair[pair] for pair in pairs]


async def test_a_revoked_edge_ends_at_once_and_a_quarantined_service_is_alone(tmp_path: Path) -> None:
    """One mesh, one change after the other; the log says under which revision each call was denied."""
    async with running(TOWN, tmp_path) as mesh:
        made, markers = Tour(mesh.plan, mesh.authority_file), Markers()
        first = await learn(mesh, calls(made, "web cart", "cart redis"))
        second = await learn(mesh, made.expected())
        await put_into(mesh, "enforce")
        assert await refused(mesh, made.expected()) == []
        to_cart, _, to_redis, to_db = (mesh.plan.dialled(use) for use in mesh.plan.expected())
        web = named(mesh, "web")
        async with connected(web, to_redis) as redis, connected(web, to_db) as db, connected(web, to_cart) as http:
            assert await redis.ping() == PONG
            assert await http.get("cart", markers.next()) == 200

            third = await roll_back(mesh, first)
            assert third > second
            async with asyncio.timeout(PATIENCE_SECONDS):
                await redis.ended()
                await db.ended()
            revoked = calls(made, "web redis", "web db")
            assert await refused(mesh, revoked + calls(made, "cart redis")) == revoked
            assert await http.get("cart", markers.next()) == 200

            fourth = await roll_back(mesh, 0)
            assert await http.get("cart", markers.next()) == 403
            everything = made.expected()
            assert await refused(mesh, everything) == everything

        async def logged() -> bool:
            of_redis, of_cart = await denied(mesh, "web", "redis"), await denied(mesh, "web", "cart")
            return of_redis == {third: 1, fourth: 1} and of_cart == {fourth: 2}

        await eventually(logged)

        await roll_back(mesh, second)
        assert await refused(mesh, made.expected()) == []
        async with connected(named(mesh, "cart"), to_redis) as held:
            assert await held.ping() == PONG
            await put_into(mesh, "quarantine", "cart")
            async with asyncio.timeout(PATIENCE_SECONDS):
                await held.ended()
            cut = calls(made, "web cart", "cart redis")
            assert await refused(mesh, [*cut, *calls(made, "web redis", "web db")]) == cut
        await put_into(mesh, "enforce", "cart")
        assert await refused(mesh, made.expected()) == []
