"""Keeps the open proposal up to date: what awaits review, odd things on top. Never decides anything."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.graph.cover import Approved
from controlplane.graph.oddities import find_oddities, surroundings_of
from controlplane.graph.proposal import Rejected, dump_proposal, load_proposal, propose
from controlplane.graph.rows import ReviewRow, review_order, same_rows
from controlplane.policy.rules import Policy
from controlplane.store.interface import Store, StoredProposal
from controlplane.workflow.learning import Learning
from controlplane.workflow.publish import Publisher

OPEN, APPROVED, REJECTED, SUPERSEDED = "open", "approved", "rejected", "superseded"


@dataclass(frozen=True, slots=True)
class Watchlist:
    """Names that people gave beside what the topology says: services worth protecting, and workloads of low trust."""

    sensitive: tuple[str, ...] = ()
    low_trust: tuple[str, ...] = ()


class Proposing:
    """The maker of proposals."""

    def __init__(self, store: Store, publisher: Publisher, clock_ms: Callable[[], int], watchlist: Watchlist) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._watchlist = watchlist
        self._learning = Learning(store)

    def refresh(self) -> StoredProposal | None:
        """The open proposal, made or replaced when what was learned asks for something else; ``None`` when nothing is new."""
        policy = self._publisher.policy
        wanted = self._wanted(policy)
        now_ms = self._clock_ms()
        current = next(iter(self._store.proposals(OPEN, 1)), None)
        if current is not None and same_rows(load_proposal(current.document), wanted):
            return current
        if current is None and not wanted:
            return None
        with self._store.transaction() as transaction:
            # Read again, now that nobody else writes: two callers at once must not make two open proposals.
            current = next(iter(self._store.proposals(OPEN, 1)), None)
            if current is not None and same_rows(load_proposal(current.document), wanted):
                return current
            if current is not None:
                transaction.decide_proposal(current.number, SUPERSEDED, "picket", "", None, now_ms)
            return transaction.add_proposal(policy.revision, dump_proposal(wanted), now_ms) if wanted else None

    def _wanted(self, policy: Policy) -> tuple[ReviewRow, ...]:
        """The rows to review, odd ones on top."""
        graph = self._learning.graph()
        found = propose(policy, graph.edges, self._rejected())
        if not found:
            return ()
        approved = Approved(policy)
        surroundings = surroundings_of(
            self._publisher.topology, self._watchlist.sensitive, self._watchlist.low_trust, graph.crowded
        )
        marks = find_oddities(graph.edges, (edge for edge in graph.edges if approved.holds(edge)), surroundings)
        marked = {edge.ends: of_edge for edge, of_edge in marks.items()}
        return review_order(ReviewRow(edge, marked.get(edge.ends, ())) for edge in found)

    def _rejected(self) -> Rejected:
        proposals = self._store.proposals(REJECTED, 1000)
        return Rejected(row.edge for proposal in proposals for row in load_proposal(proposal.document))
