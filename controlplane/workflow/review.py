"""Review: bring the proposal up to date, approve, reject, roll back. Each is one transaction with its audit event.

Expected refusals are values; the caller shows their reason.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import replace

from controlplane.graph.gate import Gate
from controlplane.graph.learn import GraphEdge
from controlplane.graph.preview import Preview, preview
from controlplane.graph.proposal import additions, decided, dump_proposal, load_proposal
from controlplane.graph.rows import ReviewRow, question_of
from controlplane.policy.documents import load_policy
from controlplane.policy.grants import lasting, settled, was_open
from controlplane.policy.leases import EdgeLease, completed, leases_for
from controlplane.policy.revise import RuleSets, revise, rule_sets
from controlplane.policy.rollouts import Plan
from controlplane.policy.rules import Policy
from controlplane.policy.traffic_policy import Lease
from controlplane.store.interface import Store, Transaction
from controlplane.store.stored import StoredProposal
from controlplane.workflow.agreement import Agreed, Agreement, Split
from controlplane.workflow.breakglass import MAX_ACTIVE, settle
from controlplane.workflow.documents import Documents
from controlplane.workflow.learning import Glance, Learning
from controlplane.workflow.leases import Leases
from controlplane.workflow.modes import Modes
from controlplane.workflow.proposing import APPROVED, OPEN, REJECTED, Proposing, Watchlist
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Act, Done, Published, Refused, Revisions, Why, as_json
from controlplane.workflow.scopes import outside_edges, outside_mesh
from controlplane.workflow.staged import StagedRevisions

#: More exceptions than a mesh has seen.
MAX_GRANTS = 1_000_000


class Review:
    """What a person can do with what was learned."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        clock_ms: Callable[[], int],
        gate: Gate | None = None,
        watchlist: Watchlist | None = None,
        unused_days: int = 30,
        agreement: Agreement | None = None,
    ) -> None:
        """``gate`` is what a service needs before it is enforced; without one, all may be.

        ``unused_days``: an approved edge that was not used for so long is proposed for removal; 0 for never.
        ``agreement`` says who has to agree to what; without one, whoever may approve does.
        """
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._revisions = Revisions(store, publisher, clock_ms)
        self._staged = StagedRevisions(store, publisher, clock_ms)
        self.learning = Learning(store)
        self.glance = Glance(self.learning, clock_ms)
        self.modes = Modes(store, publisher, clock_ms, gate, self.learning)
        self.leases = Leases(store, publisher, clock_ms, unused_days, self.learning)
        self.agreement = agreement or Agreement(store, clock_ms)
        self.documents = Documents(store, publisher, clock_ms, self.agreement, self.modes, self.leases)
        self._proposing = Proposing(store, publisher, clock_ms, watchlist or Watchlist(), self.leases, self.learning)

    def learned(self) -> Sequence[GraphEdge]:
        """The learned graph's edges."""
        return self.learning.edges()

    def refresh_proposal(self) -> StoredProposal | None:
        """The open proposal, brought up to date; ``None`` when nothing awaits review."""
        return self._proposing.refresh()

    def approve(
        self,
        number: int,
        actor: str,
        comment: str = "",
        rows: Collection[int] | None = None,
        lease: Lease | None = None,
        override_reason: str = "",
        plan: Plan | None = None,
    ) -> Published | Agreed | Refused:
        """Put rows of a proposal, counted from 1, into force; where none are given, those that are preselected.

        With a ``plan`` they come into force in stages, or not at all (`workflow.staged`).
        ``lease`` is that of each edge that is allowed; where it gives no reason, the comment is its reason, and what else it
        leaves open is as those said who agreed before. Rows that others have to agree to wait for them, unless an
        ``override_reason`` is given.
        """
        found = self._decidable(number, rows)
        if isinstance(found, Refused):
            return found
        proposal, chosen = found
        if (outside := outside_edges(row.edge.ends[:2] for row in chosen.values())) is not None:
            return outside
        current = self._publisher.policy
        if not self._proposing.still_wanted(current, [row.edge for row in chosen.values() if row.removal]):
            return Refused("an edge that should go was used or changed meanwhile; look at the proposal again", Why.CONFLICT)
        wanted = lease or Lease()
        said = replace(wanted, reason=wanted.reason or comment)
        split = self.agreement.agree(number, chosen, actor, said, comment, override_reason)
        if isinstance(split, Refused):
            return split
        if not split.ready:
            return Agreed(split.waiting)
        published = self._publish(proposal, split, current, actor, comment, wanted, plan)
        return published if isinstance(published, Refused) or not split.waiting else Agreed(split.waiting, published)

    def _publish(
        self, proposal: StoredProposal, split: Split, current: Policy, actor: str, comment: str, lease: Lease, plan: Plan | None
    ) -> Published | Refused:
        number, chosen = proposal.number, split.ready
        detail: dict[str, object] = {"proposal": number, "edges": len(chosen), "rows": sorted(chosen), "comment": comment}
        agreed: dict[str, list[int]] = {}
        for row in sorted(chosen):
            for before in sorted({approval.actor for approval in split.given.get(row, ())} - {actor}):
                agreed.setdefault(before, []).append(row)
        if agreed:
            detail["agreed"] = agreed
        note = comment or f"proposal {number}"
        active = self._store.grants(MAX_ACTIVE, active=True)
        grants = settled(active, decided(lasting(rule_sets(current), active), chosen.values()))

        def decide(transaction: Transaction, revision: int, now_ms: int) -> str:
            closes = proposal.status == OPEN
            if closes and not transaction.decide_proposal(number, APPROVED, actor, note, revision, now_ms):
                return f"proposal {number} is not open any more"
            transaction.drop_approvals([question_of(row) for row in chosen.values()])
            transaction.set_leases(_leases(split, lease, actor, comment, now_ms))
            transaction.close_asks(self._proposing.asks_of(current, chosen.values()), actor, now_ms)
            settle(transaction, grants, actor, now_ms)
            return ""

        act = Act("proposal:approve", str(number), note, detail | dict(split.detail), decide)
        rules = decided(rule_sets(current), chosen.values())
        if plan is not None:
            return self._staged.begin(current, rules, plan, actor, act, grants)
        return self._revisions.publish(current, rules, actor, act)

    def preview(self, number: int | None, since_ms: int, rows: Collection[int] | None = None) -> Preview | Refused:
        """What would become of what was used since then, if a proposal or some rows of it were approved; without one, as it is."""
        candidate = self.candidate(number, rows)
        if isinstance(candidate, Refused):
            return candidate
        return preview(self._publisher.policy, candidate, self.learned(), since_ms)

    def candidate(self, number: int | None, rows: Collection[int] | None = None) -> Policy | Refused:
        """What would be in force, if a proposal or some rows of it were approved; without one, what is."""
        current = self._publisher.policy
        if number is None:
            return current
        proposal = self._store.proposal(number)
        if proposal is None:
            return Refused(f"there is no proposal {number}", Why.MISSING)
        chosen = _chosen(proposal, rows)
        if isinstance(chosen, Refused):
            return chosen
        return revise(current, decided(rule_sets(current), chosen.values()), current.revision + 1)

    def reject(self, number: int, actor: str, comment: str = "", rows: Collection[int] | None = None) -> Done | Refused:
        """Close a proposal without approving anything; of some rows, the others are proposed again."""
        proposal = self._store.proposal(number)
        if proposal is None:
            return Refused(f"there is no proposal {number}", Why.MISSING)
        whole = load_proposal(proposal.document)
        chosen = dict(enumerate(whole, 1)) if rows is None else _chosen(proposal, rows)
        if isinstance(chosen, Refused):
            return chosen
        if (outside := outside_edges(row.edge.ends[:2] for row in chosen.values())) is not None:
            return outside
        now_ms = self._clock_ms()
        detail: dict[str, object] = {"edges": len(chosen), "comment": comment}
        if rows is not None:
            detail["rows"] = sorted(chosen)
        with self._store.transaction() as transaction:
            is_done = transaction.decide_proposal(
                number, REJECTED, actor, comment, None, now_ms, None if rows is None else dump_proposal(chosen.values())
            )
            if is_done:
                transaction.drop_approvals([question_of(row) for row in chosen.values()])
                transaction.close_asks(self._proposing.asks_of(self._publisher.policy, chosen.values()), actor, now_ms)
                transaction.add_audit(actor, "proposal:reject", str(number), as_json(detail), now_ms)
        if not is_done:
            return self._not_open(self._store.proposal(number) or proposal)
        if rows is not None:
            return Done(f"{len(chosen)} of {len(whole)} rows of proposal {number} are rejected; the others are proposed again")
        return Done(f"proposal {number} is rejected")

    def _decidable(self, number: int, rows: Collection[int] | None) -> tuple[StoredProposal, Mapping[int, ReviewRow]] | Refused:
        proposal = self._store.proposal(number)
        if proposal is None:
            return Refused(f"there is no proposal {number}", Why.MISSING)
        if proposal.status not in {OPEN, REJECTED}:  # minds change, and what was rejected is not proposed again
            return self._not_open(proposal)
        chosen = _chosen(proposal, rows)
        return chosen if isinstance(chosen, Refused) else (proposal, chosen)

    def _not_open(self, proposal: StoredProposal) -> Refused:
        reason = f"proposal {proposal.number} is {proposal.status}, not open"
        newest = next(iter(self._store.proposals(OPEN, 1)), None)
        return Refused(reason if newest is None else f"{reason}; proposal {newest.number} is", Why.CONFLICT)

    def rollback(self, number: int, actor: str, comment: str = "") -> Published | Refused:
        """Put an older revision's rules into force again, as a new revision."""
        if (outside := outside_mesh("a rollback of all rules")) is not None:
            return outside
        stored = self._store.revision(number) if number else None
        if number and stored is None:
            return Refused(f"there is no revision {number}", Why.MISSING)
        policy = self._publisher.policy
        wanted: RuleSets = {}
        approved: RuleSets = {}
        if stored is not None:
            wanted = rule_sets(load_policy(stored.document, number, policy.modes, policy.default_mode))
            # What was allowed for a time then does not come back for good.
            grants = [one for one in self._store.grants(MAX_GRANTS, active=False) if was_open(one, stored.created_ms)]
            approved = lasting(wanted, grants)
            wanted = lasting(wanted, (grant for grant in grants if grant.ended_ms is not None))
        open_now = settled(self._store.grants(MAX_ACTIVE, active=True), approved)
        note = comment or f"rollback to revision {number}"

        def settle_open(transaction: Transaction, _revision: int, now_ms: int) -> str:
            settle(transaction, open_now, actor, now_ms)
            return ""

        act = Act("policy:rollback", str(number), note, {"to": number, "comment": comment}, settle_open)
        return self._revisions.publish(policy, wanted, actor, act)


def _leases(split: Split, lease: Lease, actor: str, comment: str, now_ms: int) -> Iterator[EdgeLease]:
    """The lease of each edge that rows add, as its last approver says it and those before, the newest first."""
    for number, row in split.ready.items():
        held = completed(lease, (approval.lease for approval in reversed(split.given.get(number, ()))))
        yield from leases_for(additions([row]), replace(held, reason=held.reason or comment), actor, now_ms)


def _chosen(proposal: StoredProposal, wanted: Collection[int] | None) -> Mapping[int, ReviewRow] | Refused:
    """Some rows of a proposal, by their numbers; without any, those that are preselected."""
    rows = dict(enumerate(load_proposal(proposal.document), 1))
    if wanted is not None:
        wrong = sorted(set(wanted) - rows.keys())
        if wrong:
            return Refused(f"proposal {proposal.number} has rows 1 to {len(rows)}, not {wrong[0]}", Why.INVALID)
        return {number: rows[number] for number in sorted(set(wanted))}
    chosen = {number: row for number, row in rows.items() if row.preselected}
    if not chosen:
        return Refused(
            f"no row of proposal {proposal.number} is preselected: look at each, and name those that are meant", Why.INVALID
        )
    return chosen
