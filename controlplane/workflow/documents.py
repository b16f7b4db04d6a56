"""Written documents put into force: rules, modes and leases of the services that they name, in one transaction.

Reads no file, and decides on no proposal. Expected refusals are values; the caller shows their reason.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controlplane.policy.applied import Applied, applied
from controlplane.policy.grants import settled
from controlplane.policy.leases import EdgeLease
from controlplane.policy.rollouts import Plan
from controlplane.policy.rules import EXTERNAL_NAMESPACE, Policy
from controlplane.policy.traffic_policy import Lease, TrafficPolicy
from controlplane.store.interface import Store, Transaction
from controlplane.workflow.agreement import Agreement
from controlplane.workflow.breakglass import MAX_ACTIVE, settle
from controlplane.workflow.leases import Leases
from controlplane.workflow.modes import Modes
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Act, Done, Published, Refused, Revisions, Why, as_json
from controlplane.workflow.scopes import outside_mesh, outside_services
from controlplane.workflow.staged import StagedRevisions


class Documents:
    """What files and objects of a cluster may ask for."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        clock_ms: Callable[[], int],
        agreement: Agreement,
        modes: Modes,
        leases: Leases,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._agreement = agreement
        self._modes = modes
        self._leases = leases
        self._revisions = Revisions(store, publisher, clock_ms)
        self._staged = StagedRevisions(store, publisher, clock_ms)

    def candidate(self, documents: Sequence[TrafficPolicy], *, prune: bool = False) -> Applied | Refused:
        """What would be in force, if written documents were applied."""
        return self._applied(self._publisher.policy, documents, prune=prune)

    def _applied(self, current: Policy, documents: Sequence[TrafficPolicy], *, prune: bool) -> Applied | Refused:
        known = self._publisher.topology.services
        unknown = [d.service for d in documents if d.service not in known and d.service.namespace != EXTERNAL_NAMESPACE]
        if unknown:
            return Refused(f"there is no service {unknown[0]}", Why.MISSING)
        return applied(current, documents, prune=prune)

    def apply(
        self,
        documents: Sequence[TrafficPolicy],
        actor: str,
        comment: str = "",
        *,
        prune: bool = False,
        expected: int | None = None,
        override_reason: str = "",
        override_review: str = "",
        plan: Plan | None = None,
    ) -> Published | Done | Refused:
        """Put written documents into force: rules and modes of the services that they name, in one transaction.

        With a ``plan`` rules come into force in stages (`workflow.staged`); modes do not, and are refused then.

        ``expected`` is the revision that they were compared with; another one in force refuses them. ``override_reason`` is why
        services that are not ready are enforced all the same, ``override_review`` why rules change without those who have to agree.
        """
        outside = outside_mesh("taking away rules of all other services") if prune else None
        if (outside := outside or outside_services(document.service for document in documents)) is not None:
            return outside
        current = self._publisher.policy
        if expected is not None and expected != current.revision:
            return Refused(f"revision {current.revision} is in force by now, not {expected}", Why.CONFLICT)
        made = self._applied(current, documents, prune=prune)
        if isinstance(made, Refused):
            return made
        leases = self._leases.written(documents, actor)
        # An edge that comes back does not take up the lease that it once had.
        named = {lease.held for lease in (*leases.changed, *leases.taken_over)}
        held = {(c.service, c.source, c.port) for c in made.changes if c.before is None} - named
        fresh = [EdgeLease(*ends, Lease(), actor, self._clock_ms()) for ends in held]
        # What a file holds stays when a timed exception of it ends, and what it does not hold does not come back then.
        said = {document.service for document in documents} | {*(made.unnamed if prune else ())}
        grants = settled((one for one in self._store.grants(MAX_ACTIVE, active=True) if one.service in said), made.rules)
        if made.is_same and not leases.all and not grants:
            return Done("nothing differs from what is in force")
        if plan is not None and made.modes:
            return Refused(f"the mode of {made.modes[0].service} changes, too: that does not go in stages with rules", Why.CONFLICT)
        note = comment or f"{len(documents)} documents applied"

        concerned = {change.service for change in made.changes} | {grant.service for grant in grants}
        passed = self._agreement.pass_documents(concerned, actor, override_review)
        if isinstance(passed, Refused):
            return passed
        cleared = self._modes.clear(made.modes, actor, override_reason)
        if isinstance(cleared, Refused):
            return cleared

        def set_modes(transaction: Transaction, _revision: int, now_ms: int) -> str:
            self._modes.write(transaction, made.modes, cleared, actor, note, now_ms)
            transaction.set_leases([*leases.all, *fresh])
            settle(transaction, grants, actor, now_ms)
            if leases.all:
                told: dict[str, object] = {"comment": note, "taken_over": len(leases.taken_over), "removed": len(leases.removed)}
                transaction.add_audit(actor, "lease:apply", str(len(leases.changed)), as_json(told), now_ms)
            return ""

        if made.changes or grants:
            detail: dict[str, object] = {"documents": len(documents), "changes": len(made.changes), "comment": comment}
            act = Act("policy:apply", str(len(documents)), note, detail | dict(passed), set_modes)
            if plan is not None:
                return self._staged.begin(current, made.rules, plan, actor, act, grants)
            return self._revisions.publish(current, made.rules, actor, act)
        with self._store.transaction() as transaction:
            set_modes(transaction, current.revision, self._clock_ms())
        self._publisher.refresh()
        if not made.modes:
            differ = len(leases.changed) + len(leases.removed)
            return Done(f"{differ} leases differ; no rule does" if differ else "nothing differs from what is in force")
        return Done(f"{len(made.modes)} services have another mode; no rule differs")
