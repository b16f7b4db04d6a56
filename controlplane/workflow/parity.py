"""Holds what sidecars said of stored uses against the policy of then, read from the store. Writes nothing."""

from __future__ import annotations

from functools import lru_cache

from controlplane.graph import parity
from controlplane.graph.evidence import HOUR_MS
from controlplane.policy.documents import load_policy
from controlplane.policy.rules import Mode, Policy
from controlplane.policy.timeline import timeline
from controlplane.store.interface import Store
from controlplane.topology.model import Topology

#: More staged rollouts than a mesh has seen.
_MAX_ROLLOUTS = 100_000
#: Revisions that are held in memory at once; hours are read in their order, so few are asked for again.
_KEPT_REVISIONS = 4


def judge(store: Store, topology: Topology, since_hour: int, max_flows: int) -> tuple[parity.Parity, bool]:
    """Judge the newest stored uses since an hour (since the epoch); and whether that was all of them.

    Raises:
        StoreError: the database refused.
    """

    @lru_cache(_KEPT_REVISIONS)
    def policy_of(revision: int) -> Policy | None:
        stored = store.revision(revision)
        if stored is None:
            return None if revision else Policy()
        return load_policy(stored.document, revision, {}, Mode.LEARN)

    flows = store.history(since_hour, max_flows + 1)
    rollouts = store.rollouts(_MAX_ROLLOUTS, running=False)
    held = timeline(store.revision_times(), store.mode_changes(), rollouts, since_hour * HOUR_MS - parity.LAG_MS)
    return parity.parity(held, policy_of, topology, flows[:max_flows]), len(flows) <= max_flows
