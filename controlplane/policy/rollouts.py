"""Staged rollouts: which sidecars a stage holds, and what is next after what was seen. Pure; knows no clock.

One sidecar gets it first, then a share of them, then all: a service's mode enforce, or a policy revision, which is a rollout for
each service whose sidecars it changes, all in the same stage. A stage ends when its sidecars have taken it and held it for a
time; one that refuses it, or more denials than are allowed, end the rollout. The same sidecars are in a share each time.
"""

from __future__ import annotations

import enum
import hashlib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from controlplane.flows.model import Violation
from controlplane.identity.spiffe import parse_workload
from controlplane.policy.evaluate import Denied, Request, evaluate, evaluate_egress, parse_deny_id
from controlplane.policy.rules import Mode, Policy
from controlplane.topology.model import ServiceName, parse_service_name

#: Sidecars that did not take a stage within this time will not.
PATIENCE_MS = 120_000


class Stage(enum.StrEnum):
    """How far a rollout is."""

    ONE = "one"
    SHARE = "share"
    ALL = "all"


class Status(enum.StrEnum):
    """What became of a rollout."""

    RUNNING = "running"
    DONE = "done"
    ROLLED_BACK = "rolled-back"
    STOPPED = "stopped"  # by somebody, or because another mode or revision came meanwhile, which stays


@dataclass(frozen=True, slots=True)
class Plan:
    """How carefully: the share of the second stage, how long each stage is watched, and the denials that are still no spike."""

    share_percent: int
    hold_seconds: int
    max_denials: int


@dataclass(frozen=True, slots=True)
class Rollout:
    """One service's way to enforce, or to a policy ``revision``. Times are Unix milliseconds.

    ``first`` is the instance of the first stage, ``taken_ms`` is when all sidecars of the stage had it. ``before`` is the mode that
    the others keep and a rollback restores, ``denied_before`` how many uses the service's sidecars had reported as denied when it
    began; of a revision, ``base`` is the one that was in force then. While it is ``paused_by`` somebody it does not go on, but back
    it goes as ever.
    """

    id: int
    service: ServiceName
    before: Mode
    plan: Plan
    first: str
    actor: str
    created_ms: int
    stage_ms: int
    stage: Stage = Stage.ONE
    taken_ms: int | None = None
    status: Status = Status.RUNNING
    reason: str = ""
    ended_ms: int | None = None
    ended_by: str = ""
    denied_before: int = 0
    paused_by: str = ""
    revision: int | None = None
    base: int = 0

    def includes(self, instance: str) -> bool:
        """Whether a sidecar of the service is in the stage."""
        if self.stage is Stage.ALL or instance == self.first:
            return True
        return self.stage is Stage.SHARE and place(self.service, instance) < self.plan.share_percent


@dataclass(frozen=True, slots=True)
class Seen:
    """A connected sidecar of the service: whether it runs what the stage asks, and what it refused since the stage began."""

    instance: str
    taken: bool
    refusal: str = ""


@dataclass(frozen=True, slots=True)
class Hold:
    """Nothing is to be done yet."""


@dataclass(frozen=True, slots=True)
class Taken:
    """All sidecars of the stage have it: the time of watching begins."""


@dataclass(frozen=True, slots=True)
class Advance:
    """The stage held."""

    stage: Stage


@dataclass(frozen=True, slots=True)
class Finish:
    """The last stage held."""


@dataclass(frozen=True, slots=True)
class RollBack:
    """The stage did not hold."""

    reason: str


Step = Hold | Taken | Advance | Finish | RollBack
_NEXT = {Stage.ONE: Stage.SHARE, Stage.SHARE: Stage.ALL}


def place(service: ServiceName, instance: str) -> float:
    """Where a sidecar stands among its service's, from 0 to below 100: by a hash of its identity, so always there."""
    digest = hashlib.blake2b(f"{service}\0{instance}".encode(), digest_size=6).digest()
    return int.from_bytes(digest) * 100 / 2**48


def first_of(service: ServiceName, instances: Iterable[str]) -> str | None:
    """The sidecar that enforces first, which is also the first of any share; ``None`` when there is none."""
    return min(instances, key=lambda instance: (place(service, instance), instance), default=None)


def next_step(rollout: Rollout, sidecars: Sequence[Seen], denials: int, now_ms: int) -> Step:
    """What is next for a running rollout, given its service's connected sidecars and what they denied since it began."""
    staged = [seen for seen in sidecars if rollout.includes(seen.instance)]
    for seen in staged:
        if seen.refusal:
            return RollBack(f"{seen.instance} refused it: {seen.refusal}")
    if denials > rollout.plan.max_denials:
        return RollBack(f"denied connections: {denials}, at most {rollout.plan.max_denials} may be")
    if rollout.taken_ms is None:
        if staged and all(seen.taken for seen in staged):
            return Taken()
        if now_ms - rollout.stage_ms < PATIENCE_MS:
            return Hold()
        missing = ", ".join(seen.instance for seen in staged if not seen.taken) or "no sidecar of the stage is connected"
        return RollBack(f"not taken within {PATIENCE_MS // 1000} s: {missing}"[:500])
    if rollout.paused_by or now_ms - rollout.taken_ms < rollout.plan.hold_seconds * 1000:
        return Hold()
    following = _NEXT.get(rollout.stage)
    return Finish() if following is None else Advance(following)


def together(steps: Sequence[Step]) -> Step:
    """What is next for rollouts that stay in one stage: back with the first that goes back, on only with the last."""
    back = next((step for step in steps if isinstance(step, RollBack)), None)
    if back is not None:
        return back
    first = steps[0]
    return first if isinstance(first, Advance | Finish) and all(step == first for step in steps) else Hold()


def newly_denied(before: Policy, revision: int, denials: Iterable[Violation]) -> int:
    """How many of some denied connections a revision brought: those under its name that the policy before it did not deny."""
    return sum(denial.count for denial in denials if _names(denial, revision) and _passed(before, denial))


def _names(denial: Violation, revision: int) -> bool:
    deny_id = parse_deny_id(denial.deny_id)
    return deny_id is not None and deny_id.revision == revision


def _passed(before: Policy, denial: Violation) -> bool:
    """Whether a connection was let through before. One whose source proved no identity is known by its address."""
    edge = denial.edge
    try:
        source = None if edge.source.startswith("ip:") else parse_workload(edge.source)
        destination = parse_service_name(edge.destination)
    except ValueError:
        return False
    request = Request(destination, edge.port, source, denial.peer_address, edge.method, edge.path)
    if denial.direction == "out":
        return not isinstance(evaluate_egress(before, request, sees_requests=False), Denied)
    return not isinstance(evaluate(before, request), Denied)
