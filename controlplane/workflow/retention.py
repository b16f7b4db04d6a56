"""Removes what is out of date, a small piece at a time, so that nothing waits for it. Never decides what is of use.

Approved rules, decided proposals and the audit log are kept for ever, and so is what was rejected.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import dataclass

import msgspec
import structlog

from controlplane.policy.approvals import APPROVAL_DAYS
from controlplane.store.interface import Store, StoreError
from controlplane.store.stored import Prunable

INTERVAL_SECONDS = 3_600.0
#: Rows of one transaction, and the pause after it: reports are stored meanwhile.
PIECE_ROWS = 500
PAUSE_SECONDS = 0.05
SUPERSEDED_PROPOSALS_KEPT = 100
#: A sidecar that was away for longer may have the reports counted twice that it could not see acknowledged.
EPOCHS_KEPT_DAYS = 365
JOIN_TOKENS_KEPT_DAYS = 1
CALLS_KEPT_DAYS = 1
_DAY_MS = 86_400_000
_log = structlog.get_logger("picket.retention")


@dataclass(frozen=True, slots=True)
class Keep:
    """For how many days something is kept after it was last seen; 0 for ever."""

    violations_days: int = 0
    edges_days: int = 0
    sidecars_days: int = 0
    history_days: int = 0


def bounds(keep: Keep, now_ms: int) -> dict[Prunable, int]:
    """What is removed, and up to where; see `store.interface.Store.prune`."""
    days = {
        Prunable.VIOLATIONS: keep.violations_days,
        Prunable.VIOLATION_HOURS: keep.violations_days,
        Prunable.INCIDENTS: keep.violations_days,
        Prunable.PROOFS: keep.violations_days,
        Prunable.HISTORY: keep.history_days,
        Prunable.EDGES: keep.edges_days,
        Prunable.SIDECARS: keep.sidecars_days,
        Prunable.EPOCHS: EPOCHS_KEPT_DAYS,
        Prunable.JOIN_TOKENS: JOIN_TOKENS_KEPT_DAYS,
        Prunable.CALLS: CALLS_KEPT_DAYS,
        Prunable.APPROVALS: APPROVAL_DAYS,
    }
    return {Prunable.SUPERSEDED_PROPOSALS: SUPERSEDED_PROPOSALS_KEPT} | {
        what: now_ms - count * _DAY_MS for what, count in days.items() if count
    }


class Retention:
    """One sweep an hour, the first at the start."""

    def __init__(
        self,
        store: Store,
        keep: Keep,
        clock_ms: Callable[[], int],
        removed: Callable[[Prunable, int], None],
        before_edges: Callable[[int], None],
    ) -> None:
        """``removed`` hears how much went; ``before_edges`` is called with the time of the last use up to which edges go."""
        self._store = store
        self._keep = keep
        self._clock_ms = clock_ms
        self._removed = removed
        self._before_edges = before_edges

    async def run(self) -> None:
        """Sweep until cancelled. A database that refuses is tried again in the next hour."""
        while True:
            try:
                await self.sweep()
            except StoreError as error:
                _log.error("nothing was removed", error=str(error))
            await asyncio.sleep(INTERVAL_SECONDS)

    async def sweep(self) -> Mapping[Prunable, int]:
        """Remove all that is out of date; how many rows of each kind. The audit log says so.

        Raises:
            StoreError: the database refused.
        """
        now_ms = self._clock_ms()
        counts: dict[Prunable, int] = {}
        try:
            for what, bound in bounds(self._keep, now_ms).items():
                if what is Prunable.EDGES:
                    await asyncio.to_thread(self._before_edges, bound)
                while count := await asyncio.to_thread(self._store.prune, what, bound, PIECE_ROWS):
                    counts[what] = counts.get(what, 0) + count
                    self._removed(what, count)
                    await asyncio.sleep(PAUSE_SECONDS)
        finally:
            if counts:
                await asyncio.to_thread(self._tell, counts, now_ms)
        return counts

    def _tell(self, counts: Mapping[Prunable, int], now_ms: int) -> None:
        detail = msgspec.json.encode({str(what): count for what, count in sorted(counts.items())}).decode()
        with self._store.transaction() as transaction:
            transaction.add_audit("picket", "retention:remove", "", detail, now_ms)
