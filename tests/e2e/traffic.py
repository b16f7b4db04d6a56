"""Calls on an enforcing mesh, expected and not, counted so that the violation log can be held to them."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from controlplane.demo import tour
from controlplane.demo.mesh import Mesh
from controlplane.demo.services.messages import Result
from controlplane.demo.tour import Attempt, Tour
from tests.e2e.meshes import eventually

#: Source, destination, port, and whose sidecar refused (out, in).
Refusal = tuple[str, str, int, str]


class Traffic:
    """Every declared request among every call that is no edge: through the source's sidecar, and around it with its identity."""

    def __init__(self, mesh: Mesh) -> None:
        self._mesh = mesh
        self._tour = Tour(mesh.plan, mesh.authority_file)
        self._stolen = mesh.steal()
        self.attempted: Counter[Refusal] = Counter()
        self.rounds = 0

    async def round(self) -> None:
        """Each call once. What is declared is answered and nothing else arrives, as the applications count it."""
        expected = self._tour.expected()
        unexpected = [*self._tour.unexpected(), *self._tour.bypass(self._stolen)]
        made = await tour.make(tour.mixed(expected, unexpected), self._mesh.applications)
        assert [f"{attempt}: {outcome}" for attempt, outcome in made if attempt.expected and not _is_answered(outcome.result)] == []
        arrived = await tour.ask(self._mesh.applications)
        assert [str(attempt) for attempt in expected if not arrived.at_its_destination(attempt)] == []
        assert [str(attempt) for attempt in arrived.anywhere(unexpected)] == []
        assert not any(arrived.unmarked.values())
        self.attempted.update(map(_refusal, unexpected))
        self.rounds += 1

    async def rounds_more(self, number: int) -> None:
        """Wait while that many go by that have not begun yet."""
        last = self.rounds + number + 1

        async def over() -> bool:
            return self.rounds >= last

        await eventually(over)

    async def logged(self) -> None:
        """Wait until the log holds what was attempted. It must never hold more."""

        async def whole() -> bool:
            found: Counter[Refusal] = Counter()
            for violation in await self._mesh.plane.violations():
                found[violation.source, violation.destination, violation.port, violation.direction] += violation.count
            assert not found - self.attempted
            return found == self.attempted

        await eventually(whole)


def _is_answered(result: Result) -> bool:
    return result is Result.ANSWERED


def _refusal(attempt: Attempt) -> Refusal:
    return attempt.source, str(attempt.use.destination), attempt.use.port, attempt.direction


@asynccontextmanager
async def flowing(traffic: Traffic) -> AsyncIterator[None]:
    """Round after round without a pause, while the context is open; the last one is finished. A failed round fails the context."""
    enough = False

    async def go_on() -> None:
        while not enough:
            await traffic.round()

    async with asyncio.TaskGroup() as group:
        group.create_task(go_on())
        yield
        enough = True
