"""Who decides on what the demo learned: `--approve-all`, a person at the terminal, or somebody with the `picket` command."""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from controlplane.api.proposal_schemas import Proposal
from controlplane.demo.mesh import Mesh
from controlplane.demo.progress import Progress

POLL_SECONDS = 0.5


@dataclass(frozen=True, slots=True)
class Decision:
    """A proposal was approved."""

    number: int
    by: str
    revision: int


@dataclass(frozen=True, slots=True)
class Declined:
    """It was not, and why."""

    reason: str


class Reviewer:
    """Has a proposal decided."""

    def __init__(self, progress: Progress, *, approve_all: bool) -> None:
        self._progress = progress
        self._approve_all = approve_all

    async def decide(self, mesh: Mesh, proposal: Proposal) -> Decision | Declined:
        """Wait for a decision, wherever it comes from.

        Raises:
            MeshError, ApiError, UnreachableError: the mesh is not there any more.
        """
        if self._approve_all:
            published = await mesh.plane.approve(proposal, "picket demo --approve-all")
            return Decision(proposal.number, "--approve-all", published.revision)
        command = f"picket approve {proposal.number} --server {mesh.plane.server}"
        self._progress.say(f"Review them in the console: {mesh.console_link}")
        if not sys.stdin.isatty():
            self._progress.say(f"Nobody is at a terminal here. Waiting for a decision from elsewhere: {command}")
            return await self._elsewhere(mesh, proposal.number)
        self._progress.say(f"The same from elsewhere: {command}")
        self._progress.console.print(f"  Approve these {proposal.edge_count} edges? [y/N] ", end="", markup=False)
        async with _answer() as answer:
            elsewhere = asyncio.create_task(self._elsewhere(mesh, proposal.number))
            both: list[asyncio.Future[Any]] = [answer, elsewhere]
            await asyncio.wait(both, return_when=asyncio.FIRST_COMPLETED)
            if elsewhere.done():
                self._progress.console.print()
                return elsewhere.result()
            elsewhere.cancel()
        if answer.result().strip().lower() not in {"y", "yes"}:
            return Declined(f"proposal {proposal.number} was not approved")
        published = await mesh.plane.approve(proposal, "picket demo")
        return Decision(proposal.number, "you", published.revision)

    async def _elsewhere(self, mesh: Mesh, number: int) -> Decision | Declined:
        """Follow a proposal, and what replaces it, until it is decided."""
        while True:
            proposal = await mesh.plane.proposal(number)
            if proposal.status == "approved":
                return Decision(number, proposal.decided_by, proposal.revision or 0)
            if proposal.status == "rejected":
                return Declined(f"proposal {number} was rejected by {proposal.decided_by}")
            if proposal.status == "superseded" and (newer := await mesh.plane.open_proposal()) is not None:
                number = newer.number
                self._progress.say(f"More was learned: it is proposal {number} now, with {newer.edge_count} edges.")
            mesh.check()
            await asyncio.sleep(POLL_SECONDS)


@asynccontextmanager
async def _answer() -> AsyncIterator[asyncio.Future[str]]:
    """One line from the terminal, without a thread that could not be interrupted."""
    loop = asyncio.get_running_loop()
    answer: asyncio.Future[str] = loop.create_future()

    def read() -> None:
        loop.remove_reader(sys.stdin)
        if not answer.done():
            answer.set_result(sys.stdin.readline())

    loop.add_reader(sys.stdin, read)
    try:
        yield answer
    finally:
        loop.remove_reader(sys.stdin)
