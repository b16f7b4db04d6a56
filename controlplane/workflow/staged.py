"""Policy revisions that come into force in stages: one sidecar of each workload that they change, a share, all; or not at all.

Until all have it the revision is stored and not in force. Taking it back makes a revision of its own with the rules of before, so
that connections which only the stage let in are ended there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from controlplane.flows.model import Verdict, Violation
from controlplane.policy.grants import Grant
from controlplane.policy.revise import RuleSets, revise, rule_sets
from controlplane.policy.rollouts import (
    Advance,
    Finish,
    Plan,
    RollBack,
    Rollout,
    Seen,
    Stage,
    Status,
    Taken,
    first_of,
    newly_denied,
    next_step,
    together,
)
from controlplane.policy.rules import Policy
from controlplane.store.interface import Store, Transaction
from controlplane.store.stored import SidecarRow, ViolationFilter
from controlplane.topology.model import ServiceName
from controlplane.violations.query import Field, Term
from controlplane.workflow.concerns import concerned_by
from controlplane.workflow.publish import CompileError, Publisher, load_revision
from controlplane.workflow.revisions import Act, Done, Published, Refused, Revisions, Why, as_json

#: More workloads than this are a mesh, not a careful step.
MAX_WORKLOADS = 500
#: Rows of the violation log that are looked at; a spike shows in far fewer.
MAX_VIOLATIONS = 1_000
_log = structlog.get_logger("picket.rollouts")


class StagedRevisions:
    """The writer of revisions that are rolled out. Rollouts of one revision are a group that moves together."""

    def __init__(self, store: Store, publisher: Publisher, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._revisions = Revisions(store, publisher, clock_ms)

    def begin(
        self, current: Policy, wanted: RuleSets, plan: Plan, actor: str, act: Act, decides: Sequence[Grant] = ()
    ) -> Published | Refused:
        """Let one sidecar of each workload that the rules concern have them; ``act`` is as of a revision that comes at once.

        ``decides`` are open exceptions of edges that the rules decide on: all have those edges already, so no stage tries them.
        """
        if decides:
            open_now = f"exception {decides[0].id} lets all have an edge of {decides[0].service} that this decides on"
            return Refused(f"{open_now}; end it first, or do it without stages", Why.CONFLICT)
        if self._store.rollouts(1, running=True):
            return Refused("a rollout is under way; a revision waits until it has ended", Why.CONFLICT)
        firsts = self._firsts(current, revise(current, wanted, current.revision + 1))
        if isinstance(firsts, Refused):
            return firsts

        def store(transaction: Transaction, number: int, now_ms: int) -> str:
            transaction.lock_rollouts()
            if self._store.rollouts(1, running=True):
                return "a rollout began just now; look at the rollouts"
            for name, first in firsts.items():
                mode = current.mode(name)
                wanted = Rollout(0, name, mode, plan, first, actor, now_ms, now_ms, revision=number, base=current.revision)
                transaction.add_rollout(wanted)
            return "" if act.also is None else act.also(transaction, number, now_ms)

        detail: dict[str, object] = {
            "staged": {str(name): first for name, first in firsts.items()}, "share_percent": plan.share_percent,
            "hold_seconds": plan.hold_seconds, "max_denials": plan.max_denials,
        }  # fmt: skip
        staged = replace(act, detail=act.detail | detail, also=store)
        return self._revisions.publish(current, wanted, actor, staged, staged=True)

    def _firsts(self, current: Policy, candidate: Policy) -> dict[ServiceName, str] | Refused:
        """The first sidecar of each workload that has one, by service."""
        concerned = concerned_by(current, candidate)
        if len(concerned) > MAX_WORKLOADS:
            return Refused(f"it concerns {len(concerned)} workloads; at most {MAX_WORKLOADS} go in stages", Why.INVALID)
        fit = [row for row in self._store.sidecars() if row.connected and not row.nack_type]
        firsts: dict[ServiceName, str] = {}
        for workload in sorted(concerned):
            service = self._publisher.topology.by_workload.get(workload)
            own = (row.instance for row in fit if row.workload == str(workload))
            if service is not None and (first := first_of(service.name, own)) is not None:
                firsts[service.name] = first
        if not firsts:
            return Refused("no sidecar that it concerns is connected and accepts what it is sent: approve it whole", Why.CONFLICT)
        return firsts

    # -- on, and back ------------------------------------------------------------------------------------------------------

    def look(self, group: Sequence[Rollout], rows: Sequence[SidecarRow]) -> None:
        """Move a group on, finish it or take it back.

        Raises:
            StoreError: the database refused; it stays where it is until it does not.
        """
        now_ms, first = self._clock_ms(), group[0]
        in_force = self._publisher.policy.revision
        if in_force != _in_force_with(first):
            self._overtaken(group, in_force)
            return
        denials = self._denials(first)
        steps = [next_step(rollout, self._seen(rollout, rows), denials, now_ms) for rollout in group]
        match together(steps):
            case RollBack(reason):
                _log.warning("revision taken back", revision=first.revision, reason=reason)
                self.take_back(group, Status.ROLLED_BACK, reason, "picket")
            case Advance(stage):
                self._advance(group, stage)
            case Finish():
                self._end(group, Status.DONE, "", "picket")
            case _:
                self._note_taken([rollout for rollout, step in zip(group, steps, strict=True) if isinstance(step, Taken)])

    def _seen(self, rollout: Rollout, rows: Sequence[SidecarRow]) -> list[Seen]:
        try:
            version = self._publisher.staged_version(rollout)
        except CompileError as error:
            return [Seen(rollout.first, taken=False, refusal=f"it cannot be compiled: {error}")]
        own = [row for row in rows if row.connected and row.workload == str(rollout.service)]
        return [seen(row, version, rollout.stage_ms) for row in own]

    def _denials(self, rollout: Rollout) -> int:
        """What was denied under the revision's name, and would not have been before it."""
        number = rollout.revision or 0
        wanted = ViolationFilter(verdict=Verdict.DENIED, terms=(Term(Field.REVISION, (str(number),)),))
        found: Sequence[Violation] = self._store.violations(wanted, MAX_VIOLATIONS)
        return newly_denied(load_revision(self._store, rollout.base, self._publisher.policy), number, found) if found else 0

    def _note_taken(self, taken: Sequence[Rollout]) -> None:
        if not taken:
            return
        now_ms = self._clock_ms()
        with self._store.transaction() as transaction:
            for rollout in taken:
                transaction.move_rollout(rollout, replace(rollout, taken_ms=now_ms))
        self._publisher.refresh(self._publisher.policy)

    def _advance(self, group: Sequence[Rollout], stage: Stage) -> None:
        """Let more sidecars have it; with the last stage it is in force."""
        number = group[0].revision or 0

        def change(rollout: Rollout, now_ms: int) -> Rollout:
            return replace(rollout, stage=stage, stage_ms=now_ms, taken_ms=None)

        with self._store.transaction() as transaction:
            if not self._moved(transaction, group, change, "revision:advance", {"stage": str(stage)}, "picket"):
                return
            if stage is Stage.ALL:
                transaction.set_active_revision(number)
        self._publisher.refresh()

    def _end(self, group: Sequence[Rollout], status: Status, reason: str, actor: str) -> bool:
        """End it as it stands."""
        with self._store.transaction() as transaction:
            done = self._moved(transaction, group, _ended(status, reason, actor), f"revision:{status}", {"reason": reason}, actor)
        self._publisher.refresh()
        return done

    def _moved(
        self, transaction: Transaction, group: Sequence[Rollout], change: Callable[[Rollout, int], Rollout], action: str,
        detail: dict[str, object], actor: str,
    ) -> bool:  # fmt: skip
        """Write one step of all; ``False`` when another was faster."""
        now_ms = self._clock_ms()
        moved = [transaction.move_rollout(rollout, change(rollout, now_ms)) for rollout in group]
        if not all(moved):
            return False
        transaction.add_audit(actor, action, str(group[0].revision), as_json(detail | {"base": group[0].base}), now_ms)
        return True

    def take_back(self, group: Sequence[Rollout], status: Status, reason: str, actor: str) -> Published | Refused:
        """Put the rules of before into force for those that have it, under a number of their own."""
        first = group[0]
        candidate = load_revision(self._store, first.revision or 0, self._publisher.policy)
        now = self._publisher.policy
        before = load_revision(self._store, first.base, now) if first.stage is Stage.ALL else now

        def store(transaction: Transaction, _number: int, _now_ms: int) -> str:
            done = self._moved(transaction, group, _ended(status, reason, actor), f"revision:{status}", {"reason": reason}, actor)
            return "" if done else "the rollout has moved on; look at it and try again"

        act = Act("policy:rollback", str(first.base), f"revision {first.revision} is taken back", {"to": first.base}, store)
        return self._revisions.publish(candidate, rule_sets(before), actor, act, instead_of=now.revision)

    def _overtaken(self, group: Sequence[Rollout], in_force: int) -> None:
        """Another revision was published meanwhile, and stays."""
        reason = f"revision {in_force} was published"
        if group[0].stage is Stage.ALL:
            self._end(group, Status.STOPPED, reason, "picket")
        else:
            self.take_back(group, Status.STOPPED, reason, "picket")

    def stop(self, group: Sequence[Rollout], actor: str) -> Done | Refused:
        """End it where it is: in force with the last stage, not at all before."""
        first, reason = group[0], f"{actor} asked for it"
        if first.stage is Stage.ALL:
            if not self._end(group, Status.STOPPED, reason, actor):
                return Refused("the rollout has moved on; look at it and try again", Why.CONFLICT)
            return Done(f"revision {first.revision} stays in force and is not watched any more")
        taken = self.take_back(group, Status.STOPPED, reason, actor)
        return taken if isinstance(taken, Refused) else Done(f"revision {first.revision} is in force nowhere")


def seen(row: SidecarRow, version: str, since_ms: int) -> Seen:
    """A connected sidecar, as a stage that began at a time (Unix milliseconds) and asks for a version sees it."""
    refused = row.nack_type and row.nack_ms is not None and row.nack_ms >= since_ms
    refusal = f"{row.nack_type}: {row.nack_message}"[:500] if refused else ""
    return Seen(row.instance, row.acked_version == version and not row.nack_type, refusal)


def _in_force_with(rollout: Rollout) -> int:
    """The revision that is in force as long as nobody publishes another one."""
    return rollout.base if rollout.stage is not Stage.ALL else rollout.revision or 0


def _ended(status: Status, reason: str, actor: str) -> Callable[[Rollout, int], Rollout]:
    return lambda rollout, now_ms: replace(rollout, status=status, reason=reason, ended_ms=now_ms, ended_by=actor)
