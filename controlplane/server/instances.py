"""How many instances a workload may have: each is a row that is kept, and a sidecar names its own. Never asks who it is."""

from __future__ import annotations

import time
from collections.abc import Callable

import grpc

from controlplane.identity.spiffe import WorkloadId
from controlplane.server.streams import Ending

#: More replicas of one workload than this within an hour are not a deployment, they are made up.
MAX_INSTANCES_OF_A_WORKLOAD = 2_000
FORGET_SECONDS = 3_600.0


class Instances:
    """The instances that were heard of within the last hour. Lives on the server's event loop."""

    def __init__(self, limit: int = MAX_INSTANCES_OF_A_WORKLOAD, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit = limit
        self._clock = clock
        self._heard: dict[WorkloadId, dict[str, float]] = {}
        self._forgotten_at = clock()

    @property
    def remembered(self) -> int:
        """How many there are, of all workloads."""
        return sum(map(len, self._heard.values()))

    def refusal(self, workload: WorkloadId, instance: str) -> Ending | None:
        """Hear of an instance; why it is one too many."""
        now = self._clock()
        if now - self._forgotten_at > FORGET_SECONDS:
            self._forgotten_at = now
            lately = {known: _since(heard, now - FORGET_SECONDS) for known, heard in self._heard.items()}
            self._heard = {known: heard for known, heard in lately.items() if heard}
        heard = self._heard.setdefault(workload, {})
        if instance not in heard and len(heard) >= self._limit:
            heard = self._heard[workload] = _since(heard, now - FORGET_SECONDS)
            if len(heard) >= self._limit:
                reason = f"{workload} had {self._limit} instances within an hour; no other is served"
                return Ending(grpc.StatusCode.RESOURCE_EXHAUSTED, reason)
        heard[instance] = now
        return None


def _since(heard: dict[str, float], seconds: float) -> dict[str, float]:
    """Those that were heard of after a time."""
    return {name: at for name, at in heard.items() if at > seconds}
