"""Keeps the open proposal up to date: what awaits review, odd things on top. Never decides anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane.graph.cover import Approved
from controlplane.graph.exceptions import unused_exceptions
from controlplane.graph.learn import GraphEdge, edge_for
from controlplane.graph.oddities import find_oddities, surroundings_of
from controlplane.graph.proposal import Rejected, dump_proposal, load_proposal, propose
from controlplane.graph.relearn import LearnedGraph
from controlplane.graph.rows import Asked, ReviewRow, review_order, same_rows
from controlplane.policy.rules import HttpMatch, Policy
from controlplane.store.interface import Store
from controlplane.store.stored import StoredProposal
from controlplane.workflow.learning import Learning
from controlplane.workflow.leases import Leases
from controlplane.workflow.publish import Publisher, load_revision

#: More than anybody reviews.
MAX_ASKS = 10_000
#: Exceptions that are looked back on, the newest.
MAX_EXCEPTIONS = 1_000
OPEN, APPROVED, REJECTED, SUPERSEDED = "open", "approved", "rejected", "superseded"


@dataclass(frozen=True, slots=True)
class Watchlist:
    """Names that people gave beside what the topology says: services worth protecting, and workloads of low trust."""

    sensitive: tuple[str, ...] = ()
    low_trust: tuple[str, ...] = ()


class Proposing:
    """The maker of proposals."""

    def __init__(
        self, store: Store, publisher: Publisher, clock_ms: Callable[[], int], watchlist: Watchlist, leases: Leases
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._watchlist = watchlist
        self._leases = leases
        self._learning = Learning(store)

    def refresh(self) -> StoredProposal | None:
        """The open proposal, made or replaced when what was learned asks for something else; ``None`` when nothing is new."""
        policy = self._coming()
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

    def _coming(self) -> Policy:
        """The policy that is coming into force in stages, or else the one in force: what is in a stage does not await review."""
        staged = [rollout.revision for rollout in self._store.rollouts(1, running=True) if rollout.revision is not None]
        return load_revision(self._store, staged[0], self._publisher.policy) if staged else self._publisher.policy

    def still_wanted(self, policy: Policy, removals: Collection[GraphEdge]) -> bool:
        """Whether all of some edges that should go are still to go: one that was used, or allows more, meanwhile is not."""
        going = {(held.edge.ends, held.edge.http) for held, _ in self._leases.removals(policy)} if removals else set()
        return all((edge.ends, edge.http) in going for edge in removals)

    def asks_of(self, policy: Policy, rows: Iterable[ReviewRow]) -> list[int]:
        """The wishes that some rows decide: all that is missing of one stands in one of them."""
        approved = Approved(policy)
        decided: dict[tuple[str, str, int], list[frozenset[HttpMatch]]] = {}
        for row in rows:
            if row.asked is not None:
                decided.setdefault(row.edge.ends[:3], []).append(frozenset(row.edge.http or (HttpMatch(),)))
        wanted = ((ask.id, edge_for(ask.service, ask.rule, ask.protocol)) for ask in self._store.asks(MAX_ASKS) if decided)
        missing = ((number, edge.ends[:3], approved.missing(edge) or ()) for number, edge in wanted)
        return [number for number, ends, lacking in missing if any(row.issuperset(lacking) for row in decided.get(ends, ()))]

    def _wanted(self, policy: Policy) -> tuple[ReviewRow, ...]:
        """The rows to review, odd ones on top."""
        graph = self._learning.graph()
        rejected = self._store.proposals(REJECTED, 1000)
        refused = [row for proposal in rejected for row in load_proposal(proposal.document) if not row.removal]
        turned_down = Rejected(row.edge for row in refused)
        found = propose(policy, graph.edges, turned_down)
        asked = self._asked(policy, found)
        rows = [*self._learned(policy, graph, found, asked), *self._removals(policy, graph, rejected)]
        return review_order([*rows, *self._unused(policy, graph, turned_down, {edge.ends[:3] for edge in asked})])

    def _unused(
        self, policy: Policy, graph: LearnedGraph, rejected: Rejected, asked: Collection[tuple[str, str, int]]
    ) -> list[ReviewRow]:
        """Edges of exceptions that nobody used, but for those that somebody asked for."""
        grants = self._store.grants(MAX_EXCEPTIONS, active=False)
        found = unused_exceptions(grants, graph.edges, policy, rejected, self._publisher.topology, self._clock_ms())
        return [row for row in found if row.edge.ends[:3] not in asked]

    def _learned(
        self, policy: Policy, graph: LearnedGraph, found: Collection[GraphEdge], asked: Mapping[GraphEdge, Asked]
    ) -> list[ReviewRow]:
        """What was seen or asked for and is not approved."""
        seen = set(found)
        edges = [*found, *(edge for edge in asked if edge not in seen)]
        if not edges:
            return []
        approved = Approved(policy)
        surroundings = surroundings_of(
            self._publisher.topology, self._watchlist.sensitive, self._watchlist.low_trust, graph.crowded
        )
        trusted = (edge for edge in graph.edges if approved.holds(edge))
        # What was only asked for was never seen: it is held against the graph like anything that is new.
        unseen = [edge for edge in edges if not edge.count]
        marked = {edge.ends: marks for edge, marks in find_oddities([*graph.edges, *unseen], trusted, surroundings).items()}
        return [ReviewRow(edge, marked.get(edge.ends, ()), asked=asked.get(edge)) for edge in edges]

    def _asked(self, policy: Policy, found: Collection[GraphEdge]) -> Mapping[GraphEdge, Asked]:
        """Edges that somebody asked for and that are not approved; one that was seen as well is that very edge."""
        approved = Approved(policy)
        seen = {edge.ends[:3]: edge for edge in found}
        asked: dict[GraphEdge, Asked] = {}
        for ask in self._store.asks(MAX_ASKS):
            edge = edge_for(ask.service, ask.rule, ask.protocol)
            missing = approved.missing(edge)
            if not missing:
                continue
            same = seen.get(edge.ends[:3])
            if same is not None and set(missing) <= set(same.http or (HttpMatch(),)):
                edge = same
            elif edge.http:
                edge = replace(edge, http=missing)
            asked[edge] = Asked(ask.actor, ask.reason, ask.link, ask.created_ms)
        return asked

    def _removals(self, policy: Policy, graph: LearnedGraph, rejected: Sequence[StoredProposal]) -> list[ReviewRow]:
        """Approved edges that should go, but for those that somebody wanted to keep a short while ago."""
        kept = {
            row.edge.ends
            for proposal in rejected
            if self._leases.is_kept(proposal.decided_ms)
            for row in load_proposal(proposal.document)
            if row.removal
        }
        found = self._leases.removals(policy, graph.edges)
        return [ReviewRow(held.edge, removal=reason) for held, reason in found if held.edge.ends not in kept]
