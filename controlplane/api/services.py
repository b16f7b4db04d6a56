"""What the API is given to work with, as frozen values. Never makes any of it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol

from controlplane.identity.generations import Step
from controlplane.policy.objects import Standing
from controlplane.store.interface import Store
from controlplane.topology.unmeshed import Gaps
from controlplane.workflow.accounts import Accounts
from controlplane.workflow.delivery import SinkState
from controlplane.workflow.publish import Publisher
from controlplane.workflow.retention import Keep
from controlplane.workflow.review import Review
from controlplane.workflow.revisions import Refused
from controlplane.workflow.rotation import Rotated


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Whether the control plane lives, whether it serves, and if not why."""

    live: bool
    ready: bool
    reasons: tuple[str, ...] = ()


class Rotate(Protocol):
    """Takes a step of the authority's rotation."""

    def __call__(self, step: Step, actor: str, reason: str, *, now: bool) -> Rotated | Refused:
        """Waits for nothing where it is to be ``now``, and wants a reason then."""


@dataclass(frozen=True, slots=True)
class ApiServices:
    """The parts behind the API.

    ``new_join_token`` takes a workload ("namespace/account"), a lifetime in seconds (0: the default) and the actor; it returns
    a join document and raises ValueError for a workload that does not exist. ``token`` is what callers over TCP must bring;
    without one, only a Unix socket is served. ``host_names`` are the names, beside loopback, under which the API is called.
    ``accounts`` are the local users, ``sinks`` says how each sink does. ``proofs`` is whether sidecars may be asked to try
    forbidden connections. ``keep`` says for how long what was seen is kept. ``gaps`` are what should be in the mesh and is not.
    ``authority`` says how the mesh's authority stands, and ``rotate`` takes a step of its rotation.
    ``objects`` says how the cluster's TrafficPolicy objects stand. It is ``delegated`` where identities come from elsewhere, and no
    join token brings one.
    """

    store: Store
    review: Review
    publisher: Publisher
    clock_ms: Callable[[], int]
    health: Callable[[], HealthReport]
    metrics: Callable[[], bytes]
    new_join_token: Callable[[str, int, str], dict[str, object] | Refused]
    token: str | None
    accounts: Accounts
    authority: Callable[[], Rotated | Refused]
    rotate: Rotate
    sinks: Callable[[], Sequence[SinkState]] = tuple
    host_names: tuple[str, ...] = ()
    proofs: bool = True
    keep: Keep = field(default_factory=Keep)
    gaps: Callable[[], Gaps] = Gaps
    delegated: bool = False
    objects: Callable[[], Sequence[Standing]] = tuple
