"""The long streams that are open: how many a workload may hold, and why one ends. Never reads or writes one."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

import grpc

from controlplane.identity.spiffe import WorkloadId
from controlplane.server.authentication import Authenticated

#: One workload's streams of one service, over all its instances. More than this is not a deployment, it is an attack.
MAX_STREAMS_OF_A_WORKLOAD = 2_000


@dataclass(frozen=True, slots=True)
class Ending:
    """Why a stream ends, as its peer is told."""

    code: grpc.StatusCode
    reason: str


STOPPING = Ending(grpc.StatusCode.UNAVAILABLE, "the control plane is stopping; connect again")
EXPIRED = Ending(grpc.StatusCode.UNAUTHENTICATED, "the client certificate has expired; connect again with a new one")


class Life:
    """One stream's time. It ends by itself, by `end`, or when the peer's certificate expires."""

    def __init__(self, timeout: asyncio.Timeout) -> None:
        self._timeout = timeout
        self.ending: Ending | None = None
        self.over = False

    def end(self, ending: Ending) -> None:
        """Interrupt whatever the stream waits for. The first reason counts."""
        if self.ending is not None:
            return
        self.ending = ending
        if not self.over:
            self._timeout.reschedule(asyncio.get_running_loop().time())


class OpenStreams:
    """The streams of one service. Lives on the server's event loop."""

    def __init__(self, limit: int = MAX_STREAMS_OF_A_WORKLOAD, clock: Callable[[], float] = time.time) -> None:
        self._limit = limit
        self._clock = clock
        self._open: set[Life] = set()
        self._counts: Counter[WorkloadId] = Counter()
        self._stopping = False

    def refusal(self, workload: WorkloadId) -> Ending | None:
        """Why another stream of this workload cannot begin."""
        if self._stopping:
            return STOPPING
        if self._counts[workload] >= self._limit:
            return Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, f"{workload} has {self._limit} streams already; no more are served")
        return None

    @asynccontextmanager
    async def life(self, peer: Authenticated) -> AsyncIterator[Life]:
        """The time of one stream. Where something ended it, the body is interrupted and ``ending`` says why."""
        left = None if peer.expires_seconds is None else max(peer.expires_seconds - self._clock(), 0.0)
        timeout = asyncio.timeout(left)
        life = Life(timeout)
        self._counts[peer.workload] += 1
        try:
            async with timeout:
                self._open.add(life)
                try:
                    yield life
                finally:
                    life.over = True
                    self._open.discard(life)
        except TimeoutError:
            if not timeout.expired():
                raise
            life.ending = life.ending or EXPIRED
        finally:
            self._counts[peer.workload] -= 1
            if not self._counts[peer.workload]:
                del self._counts[peer.workload]

    def stop(self) -> None:
        """End every stream, and let none begin."""
        self._stopping = True
        for life in tuple(self._open):
            life.end(STOPPING)
