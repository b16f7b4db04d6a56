"""What the demo asks of the control plane, over the API that everybody uses. Decides nothing."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TypeVar

import msgspec

from controlplane.api.client import ApiError, Client, UnreachableError
from controlplane.api.proposal_schemas import Proposal, Proposals
from controlplane.api.schemas import Map, MapEdge, Published, Sidecars, Violation, Violations

#: How often something that is waited for is asked for.
POLL_SECONDS = 0.1
_PAGE = 5000
#: A demo is over before a day is.
_NOT_READY = "picket demo: all the traffic there is was made and learned"
_API = "/api/v1"
T = TypeVar("T")


class Plane:
    """The control plane of one demo."""

    def __init__(self, server: str) -> None:
        self._client = Client(server)
        self.server = server

    async def is_ready(self) -> bool:
        """Whether it serves."""
        try:
            await asyncio.to_thread(self._client.get, "/readyz")
        except (ApiError, UnreachableError):
            return False
        return True

    async def join_document(self, workload: str) -> bytes:
        """What a new sidecar of a workload needs, with its one-time token."""
        made = await asyncio.to_thread(self._client.post, f"{_API}/tokens", {"workload": workload})
        return msgspec.json.encode(made)

    async def sidecars(self) -> Sidecars:
        """Every sidecar's state."""
        return await self._get(f"{_API}/sidecars", Sidecars)

    async def learned_edges(self) -> Sequence[MapEdge]:
        """The learned graph."""
        found = await self._get(f"{_API}/map?limit=100000", Map)
        return [edge for edge in found.edges if edge.learned]

    async def open_proposal(self) -> Proposal | None:
        """What waits for review."""
        found = await self._get(f"{_API}/proposals?status=open", Proposals)
        return await self.proposal(found.proposals[0].number) if found.proposals else None

    async def proposal(self, number: int) -> Proposal:
        """One proposal."""
        return await self._get(f"{_API}/proposals/{number}", Proposal)

    async def approve(self, proposal: Proposal, comment: str) -> Published:
        """Put all rows of a proposal into force, odd ones as well: whoever decides was shown them."""
        body = {"comment": comment, "rows": [edge.row for edge in proposal.edges]}
        said = await asyncio.to_thread(self._client.post, f"{_API}/proposals/{proposal.number}/approve", body)
        return msgspec.convert(said, Published)

    async def enforce_all(self) -> None:
        """Every service into the mode `enforce`."""
        await asyncio.to_thread(self._client.put, f"{_API}/modes", {"mode": "enforce", "all": True, "override": _NOT_READY})

    async def violations(self) -> list[Violation]:
        """The whole violation log, in the order in which it began."""
        found: list[Violation] = []
        after = 0
        while True:
            page = await self._get(f"{_API}/violations?after_id={after}&limit={_PAGE}", Violations)
            found += page.violations
            if len(page.violations) < _PAGE:
                return found
            after = page.last_id

    async def _get(self, path: str, schema: type[T]) -> T:
        return msgspec.convert(await asyncio.to_thread(self._client.get, path), schema)
