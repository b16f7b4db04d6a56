"""What should be in the mesh and is not, or not as a service of its own, with the reason. Decides nothing of it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Unmeshed:
    """A replica that should have a sidecar and has none.

    ``owner`` is what it was made for (``Deployment/cart``), ``workload`` the identity that its sidecar would have (``shop/cart``).
    """

    namespace: str
    replica: str
    owner: str
    reason: str
    workload: str


@dataclass(frozen=True, slots=True)
class Owned:
    """The replicas of one owner that have no sidecar for one reason: how many, and the first of them by name."""

    first: Unmeshed
    count: int


@dataclass(frozen=True, slots=True)
class Gaps:
    """``replicas`` without a sidecar, and ``notes`` on what cannot be told apart."""

    replicas: tuple[Unmeshed, ...] = ()
    notes: tuple[str, ...] = ()

    def by_owner(self, workload: str = "") -> tuple[Owned, ...]:
        """What somebody has to do something about, those with the most replicas first; of one workload, or of all."""
        groups: dict[tuple[str, str, str], list[Unmeshed]] = {}
        for replica in self.replicas:
            if workload in {"", replica.workload}:
                groups.setdefault((replica.namespace, replica.owner, replica.reason), []).append(replica)
        found = (Owned(members[0], len(members)) for _, members in sorted(groups.items()))
        return tuple(sorted(found, key=lambda owned: -owned.count))

    def by_workload(self) -> Mapping[str, int]:
        """How many replicas of each workload have none."""
        return Counter(replica.workload for replica in self.replicas)
