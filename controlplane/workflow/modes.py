"""Sets the modes of services. The step to enforce passes a gate, which asks whether enough was learned. Makes no revision.

Who passes the gate without being ready gives a reason, and what was missing stands with it in the audit log.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from controlplane.graph.gate import BadReason, Gate, NotReady, judge, override
from controlplane.graph.readiness import Readiness, assess
from controlplane.graph.watch import Watch
from controlplane.policy.applied import ModeChange
from controlplane.policy.rules import Mode
from controlplane.store.interface import Store, Transaction
from controlplane.topology.model import ServiceName
from controlplane.workflow.learning import Learning
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Done, Refused, Why, as_json
from controlplane.workflow.scopes import outside_services

#: Reasons that a refusal tells; `picket readiness` has all.
_SHOWN = 3


#: A readiness, and what the gate says where it would not let pass.
Verdict = tuple[Readiness, NotReady | None]


@dataclass(frozen=True, slots=True)
class Cleared:
    """The services may change; ``lacking`` are those that were not ready, for which there is a reason."""

    lacking: dict[ServiceName, NotReady]
    reason: str = ""

    def detail(self, service: ServiceName) -> dict[str, object]:
        """What the audit log keeps of a service that was not ready; empty when it was."""
        verdict = self.lacking.get(service)
        if verdict is None:
            return {}
        missing = [found.text for found in verdict.reasons]
        return {"override": self.reason, "readiness": verdict.summary, "missing": missing}


class Modes:
    """What decides over flows that no rule allows."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        clock_ms: Callable[[], int],
        gate: Gate | None,
        learning: Learning | None = None,
    ) -> None:
        """``gate`` is what a service needs before it is enforced; ``None`` lets all pass."""
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._gate = gate
        self._learning = learning or Learning(store)

    def change(
        self, services: Sequence[ServiceName], mode: Mode, actor: str, comment: str = "", override_reason: str = ""
    ) -> Done | Refused:
        """Set the mode of services; published at once."""
        unknown = [name for name in services if name not in self._publisher.topology.services]
        if unknown:
            return Refused(f"there is no service {unknown[0]}", Why.MISSING)
        if (outside := outside_services(services)) is not None:
            return outside
        policy = self._publisher.policy
        changes = [ModeChange(name, policy.mode(name), mode) for name in services]
        cleared = self.clear(changes, actor, override_reason)
        if isinstance(cleared, Refused):
            return cleared
        with self._store.transaction() as transaction:
            self.write(transaction, changes, cleared, actor, comment, self._clock_ms())
        self._publisher.refresh()
        return Done(f"{len(services)} service{'s' if len(services) != 1 else ''} in mode {mode}")

    def note_default(self) -> None:
        """Remember since when services without a mode of their own have the one that this control plane was started with."""
        mode = self._publisher.policy.default_mode
        known = next((change.mode for change in reversed(self._store.mode_changes()) if change.service is None), None)
        if known is not mode:
            with self._store.transaction() as transaction:
                transaction.note_default_mode(mode, self._clock_ms())

    def release(self, service: ServiceName, actor: str, comment: str = "") -> Done | Refused:
        """End a quarantine: the service has the mode that it had before, which passed the gate then."""
        if (outside := outside_services([service])) is not None:
            return outside
        if self._publisher.policy.mode(service) is not Mode.QUARANTINE:
            return Refused(f"{service} is not quarantined", Why.CONFLICT)
        own = [change.mode for change in self._store.mode_changes() if change.service == service]
        before = next((mode for mode in reversed(own) if mode is not Mode.QUARANTINE), self._publisher.policy.default_mode)
        change = ModeChange(service, Mode.QUARANTINE, before)
        with self._store.transaction() as transaction:
            self.write(transaction, [change], Cleared({}), actor, comment, self._clock_ms())
        self._publisher.refresh()
        return Done(f"{service} is back in mode {before}")

    def clear(self, changes: Sequence[ModeChange], actor: str, reason: str) -> Cleared | Refused:
        """Ask the gate. Going back to enforce from quarantine is no promotion: it was enforced before."""
        promoted = [c.service for c in changes if c.after is Mode.ENFORCE and c.before in {Mode.LEARN, Mode.AUDIT}]
        if self._gate is None or not promoted:
            return Cleared({})
        lacking = self._not_ready(promoted, self._gate)
        if not lacking:
            return Cleared({})
        if not reason:
            return Refused(_refusal(list(lacking.values()), len(promoted)), Why.CONFLICT)
        passed = {name: override(verdict, actor, reason, self._clock_ms()) for name, verdict in lacking.items()}
        bad = next((outcome for outcome in passed.values() if isinstance(outcome, BadReason)), None)
        return Cleared(lacking, reason.strip()) if bad is None else Refused(f"the reason to pass the gate: {bad.text}", Why.INVALID)

    def write(
        self, transaction: Transaction, changes: Sequence[ModeChange], cleared: Cleared, actor: str, comment: str, now_ms: int
    ) -> None:
        """Write cleared changes, each with its audit event; who calls refreshes the publisher after the commit."""
        for change in changes:
            transaction.set_mode(change.service, change.after, now_ms)
            detail: dict[str, object] = {"mode": str(change.after), "before": str(change.before), "comment": comment}
            detail |= cleared.detail(change.service)
            transaction.add_audit(actor, "service:mode", str(change.service), as_json(detail), now_ms)

    def verdicts(self, service: str | None = None) -> tuple[Verdict, tuple[Verdict, ...]]:
        """The readiness of the whole graph and of each service (or of one), and for what the gate would hold it back."""
        gate = self._gate or Gate()
        whole, each = self._learning.readiness()
        wanted = [found for found in each if service in {None, found.subject}]
        if service is not None and not wanted:
            wanted = [assess(service, (), Watch())]
        return _verdict(whole, gate), tuple(_verdict(found, gate) for found in wanted)

    def _not_ready(self, services: Sequence[ServiceName], gate: Gate) -> dict[ServiceName, NotReady]:
        known = {found.subject: found for found in self._learning.readiness()[1]}
        verdicts = ((name, judge(known.get(str(name)) or assess(str(name), (), Watch()), gate)) for name in services)
        return {name: verdict for name, verdict in verdicts if isinstance(verdict, NotReady)}


def _verdict(found: Readiness, gate: Gate) -> Verdict:
    verdict = judge(found, gate)
    return found, verdict if isinstance(verdict, NotReady) else None


def _refusal(lacking: Sequence[NotReady], promoted: int) -> str:
    first = lacking[0]
    reasons = "; ".join(found.text for found in first.reasons[:_SHOWN])
    who = f"{first.subject} is not ready to be enforced"
    if promoted > 1:
        who = f"{len(lacking)} of {promoted} services are not ready to be enforced, such as {first.subject}"
    return f"{who}: {first.summary}; {reasons}"
