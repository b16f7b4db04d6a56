"""Staged rollouts: some sidecars of a service enforce first; all go back when one refuses or denies too much. Makes no revision.

Where each one is stands in the store: a control plane that restarts goes on, and sidecars outside the stage keep their mode. Those
of a policy revision are driven from here and moved by `workflow.staged`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

import structlog

from controlplane.policy.applied import ModeChange
from controlplane.policy.rollouts import (
    Advance,
    Finish,
    Hold,
    Plan,
    RollBack,
    Rollout,
    Seen,
    Stage,
    Status,
    Taken,
    first_of,
    next_step,
)
from controlplane.policy.rules import Mode
from controlplane.store.interface import Store, StoreError
from controlplane.store.stored import SidecarRow
from controlplane.topology.model import ServiceName
from controlplane.workflow.modes import Cleared, Modes
from controlplane.workflow.publish import CompileError, Publisher
from controlplane.workflow.revisions import Done, Refused, Why, as_json
from controlplane.workflow.scopes import outside_services
from controlplane.workflow.staged import StagedRevisions, seen

LOOK_SECONDS = 1.0
#: More at once are a mesh, not a careful step.
MAX_RUNNING = 500
#: More than are ever taken back.
MAX_KEPT = 10_000
_log = structlog.get_logger("picket.rollouts")


class Rollouts:
    """The driver of staged rollouts."""

    def __init__(self, store: Store, publisher: Publisher, modes: Modes, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._publisher = publisher
        self._modes = modes
        self._clock_ms = clock_ms
        self._staged = StagedRevisions(store, publisher, clock_ms)

    def start(
        self, services: Sequence[ServiceName], plan: Plan, actor: str, comment: str = "", override_reason: str = ""
    ) -> Sequence[Rollout] | Refused:
        """Let one sidecar of each service enforce. The gate is asked now, for the whole way."""
        if (outside := outside_services(services)) is not None:
            return outside
        policy = self._publisher.policy
        under_way = self._store.rollouts(MAX_RUNNING, running=True)
        if (other := next((rollout.revision for rollout in under_way if rollout.revision is not None), None)) is not None:
            return Refused(f"revision {other} is rolled out; wait until that has ended", Why.CONFLICT)
        running = {rollout.service for rollout in under_way}
        if len(running) + len(services) > MAX_RUNNING:
            return Refused(f"{MAX_RUNNING} rollouts may run at once", Why.CONFLICT)
        able = [row for row in self._store.sidecars() if row.connected and not row.nack_type]
        firsts: dict[ServiceName, str] = {}
        for name in services:
            first = self._first_of(name, running, able)
            if isinstance(first, Refused):
                return first
            firsts[name] = first
        cleared = self._modes.clear([ModeChange(name, policy.mode(name), Mode.ENFORCE) for name in firsts], actor, override_reason)
        if isinstance(cleared, Refused):
            return cleared
        now_ms = self._clock_ms()
        begun: list[Rollout] = []
        with self._store.transaction() as transaction:
            # Read again, now that nobody else begins one: two callers at once must not begin the same.
            transaction.lock_rollouts()
            now = self._store.rollouts(MAX_RUNNING, running=True)
            if any(rollout.service in firsts or rollout.revision is not None for rollout in now):
                return Refused("a rollout of one of these began just now; look at the rollouts", Why.CONFLICT)
            for name, first in firsts.items():
                denied = self._store.denials(str(name))
                wanted = Rollout(0, name, policy.mode(name), plan, first, actor, now_ms, now_ms, denied_before=denied)
                begun.append(transaction.add_rollout(wanted))
                detail: dict[str, object] = {
                    "rollout": begun[-1].id, "first": first, "share_percent": plan.share_percent,
                    "hold_seconds": plan.hold_seconds, "max_denials": plan.max_denials, "comment": comment,
                }  # fmt: skip
                transaction.add_audit(actor, "rollout:start", str(name), as_json(detail | cleared.detail(name)), now_ms)
        self._publisher.refresh()
        return begun

    def _first_of(self, name: ServiceName, running: set[ServiceName], able: Sequence[SidecarRow]) -> str | Refused:
        """The first sidecar of a service, of those that are connected and accept what they are sent."""
        service, mode = self._publisher.topology.services.get(name), self._publisher.policy.mode(name)
        if service is None:
            return Refused(f"there is no service {name}", Why.MISSING)
        if mode not in {Mode.LEARN, Mode.AUDIT}:
            return Refused(f"{name} is in mode {mode}; a rollout begins in learn or audit", Why.CONFLICT)
        if name in running:
            return Refused(f"a rollout of {name} is running; roll it back first", Why.CONFLICT)
        first = first_of(name, (row.instance for row in able if row.workload == str(name)))
        if first is None:
            return Refused(f"no sidecar of {name} is connected and accepts what it is sent", Why.CONFLICT)
        return first

    def roll_back(self, rollout_id: int, actor: str) -> Done | Refused:
        """Take one back, running or done: the service has the mode that it had before. Of a revision only while it is running."""
        group = self.group(rollout_id)
        if isinstance(group, Refused):
            return group
        found = group[0]
        if found.revision is not None:
            if found.status is not Status.RUNNING:
                advice = f"rollout {found.id} is {found.status}; `picket policy rollback {found.base}` goes back to what was before"
                return Refused(advice, Why.CONFLICT)
            taken = self._staged.take_back(group, Status.ROLLED_BACK, f"{actor} asked for it", actor)
            return taken if isinstance(taken, Refused) else Done(f"revision {found.revision} is taken back")
        mode = self._publisher.policy.mode(found.service)
        if found.status not in {Status.RUNNING, Status.DONE} or mode is not _mode_of(found):
            return Refused(f"rollout {found.id} is {found.status}, and {found.service} in mode {mode}; set its mode", Why.CONFLICT)
        if not self._end(found, Status.ROLLED_BACK, f"{actor} asked for it", actor):
            return Refused(f"rollout {found.id} has moved on; look at it and try again", Why.CONFLICT)
        return Done(f"{found.service} is back in mode {found.before}")

    def stop(self, rollout_id: int, actor: str) -> Done | Refused:
        """End a running one where it is: all keep what all have, and before the last stage nobody keeps anything."""
        group = self.group(rollout_id)
        if isinstance(group, Refused):
            return group
        found = group[0]
        if found.status is not Status.RUNNING:
            return Refused(f"rollout {found.id} is {found.status}, not running", Why.CONFLICT)
        if found.revision is not None:
            return self._staged.stop(group, actor)
        if not self._end(found, Status.STOPPED, f"{actor} asked for it", actor):
            return Refused(f"rollout {found.id} has moved on; look at it and try again", Why.CONFLICT)
        return Done(f"{found.service} stays in mode {self._publisher.policy.mode(found.service)}, and nothing is watched any more")

    def pause(self, rollout_id: int, actor: str, *, paused: bool) -> Done | Refused:
        """Hold a running one up in its stage, where it still goes back by itself, or let it go on."""
        group = self.group(rollout_id)
        if isinstance(group, Refused):
            return group
        now_ms, whom = self._clock_ms(), actor if paused else ""
        with self._store.transaction() as transaction:
            done = [transaction.pause_rollout(rollout.id, whom) for rollout in group]
            if not all(done):
                return Refused(f"rollout {rollout_id} is not running any more", Why.CONFLICT)
            action = "rollout:pause" if paused else "rollout:resume"
            transaction.add_audit(actor, action, str(group[0].service), as_json({"rollout": rollout_id}), now_ms)
        self._publisher.refresh()
        return Done(f"rollout {rollout_id} {'waits in its stage' if paused else 'goes on'}")

    def group(self, rollout_id: int) -> Sequence[Rollout] | Refused:
        """A rollout, with those of the same revision."""
        known = self._store.rollouts(MAX_KEPT, running=False)
        found = next((rollout for rollout in known if rollout.id == rollout_id), None)
        if found is None:
            return Refused(f"there is no rollout {rollout_id}", Why.MISSING)
        alone = found.revision is None
        group = [found] if alone else [found, *(r for r in known if r.revision == found.revision and r.id != found.id)]
        return outside_services([rollout.service for rollout in group]) or group

    def look(self) -> None:
        """Move on, finish or take back each running rollout.

        Raises:
            StoreError: the database refused; all stay where they are until it does not.
        """
        running = self._store.rollouts(MAX_RUNNING, running=True)
        if not running:
            return
        rows = self._store.sidecars()
        for number in {rollout.revision for rollout in running} - {None}:
            self._staged.look([rollout for rollout in running if rollout.revision == number], rows)
        for rollout in running:
            if rollout.revision is not None:
                continue
            mode = self._publisher.policy.mode(rollout.service)
            if mode is not _mode_of(rollout):
                self._end(rollout, Status.STOPPED, f"somebody set mode {mode}", "picket")
                continue
            try:
                version = self._publisher.staged_version(rollout)
            except CompileError as error:
                self._end(rollout, Status.ROLLED_BACK, f"it cannot be compiled: {error}", "picket")
                continue
            own = [row for row in rows if row.workload == str(rollout.service) and row.connected]
            self._step(rollout, [seen(row, version, rollout.stage_ms) for row in own])

    def _step(self, rollout: Rollout, sidecars: Sequence[Seen]) -> None:
        now_ms = self._clock_ms()
        step = next_step(rollout, sidecars, self._denials(rollout), now_ms)
        match step:
            case Hold():
                return
            case Taken():
                with self._store.transaction() as transaction:
                    transaction.move_rollout(rollout, replace(rollout, taken_ms=now_ms))
                self._publisher.refresh()
            case Advance(stage):
                self._move(rollout, replace(rollout, stage=stage, stage_ms=now_ms, taken_ms=None), "rollout:advance", "picket")
            case Finish():
                self._end(rollout, Status.DONE, "", "picket")
            case RollBack(reason):
                _log.warning("rollout rolled back", service=str(rollout.service), rollout=rollout.id, reason=reason)
                self._end(rollout, Status.ROLLED_BACK, reason, "picket")

    def _denials(self, rollout: Rollout) -> int:
        """What the service's sidecars reported as denied since the rollout began, in and out, whatever their clocks say."""
        return self._store.denials(str(rollout.service)) - rollout.denied_before

    def _end(self, rollout: Rollout, status: Status, reason: str, actor: str) -> bool:
        after = replace(rollout, status=status, reason=reason, ended_ms=self._clock_ms(), ended_by=actor)
        return self._move(rollout, after, f"rollout:{status}", actor)

    def _move(self, before: Rollout, after: Rollout, action: str, actor: str) -> bool:
        """Write a step, with the mode that belongs to it; ``False`` when another was faster."""
        now_ms = self._clock_ms()
        with self._store.transaction() as transaction:
            if not transaction.move_rollout(before, after):
                return False
            detail: dict[str, object] = {"rollout": after.id, "stage": str(after.stage), "reason": after.reason}
            transaction.add_audit(actor, action, str(after.service), as_json(detail), now_ms)
            if after.status is not Status.STOPPED and _mode_of(before) is not _mode_of(after):
                change = ModeChange(after.service, _mode_of(before), _mode_of(after))
                self._modes.write(transaction, [change], Cleared({}), actor, f"rollout {after.id}", now_ms)
        self._publisher.refresh()
        return True

    async def run(self) -> None:
        """Look again and again, until cancelled."""
        while True:
            try:
                await asyncio.to_thread(self.look)
            except StoreError as error:
                _log.error("rollouts not looked at", error=str(error))
            await asyncio.sleep(LOOK_SECONDS)


def _mode_of(rollout: Rollout) -> Mode:
    """The mode that the service has by a rollout; the stages before the last change it for none but their sidecars."""
    return Mode.ENFORCE if rollout.stage is Stage.ALL and rollout.status is not Status.ROLLED_BACK else rollout.before
