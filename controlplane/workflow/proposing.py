"""Keeps the open proposal up to date: what awaits review, odd things on top. Never decides anything."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from controlplane.graph.cover import Approved
from controlplane.graph.exceptions import unused_exceptions
from controlplane.graph.learn import Ends, GraphEdge, edge_for
from controlplane.graph.oddities import find_oddities, surroundings_of
from controlplane.graph.proposal import Rejected, dump_proposal, load_proposal, propose
from controlplane.graph.relearn import LearnedGraph
from controlplane.graph.rows import Asked, ReviewRow, review_order, same_rows
from controlplane.policy.asks import Ask
from controlplane.policy.rules import HttpMatch, Policy
from controlplane.store.interface import Store
from controlplane.store.stored import StoredProposal
from controlplane.topology.model import Topology
from controlplane.workflow.learning import Learning
from controlplane.workflow.leases import Leases
from controlplane.workflow.publish import Publisher, load_revision
from controlplane.workflow.remembered import Remembered

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


@dataclass(frozen=True, slots=True, eq=False)
class _Refused:
    """What people rejected: edges that were to be allowed, and the ends of those that were to go, with when."""

    turned_down: Rejected
    removals: tuple[tuple[int | None, Ends], ...]


@dataclass(frozen=True, slots=True, eq=False)
class _New:
    """The rows of what was seen or asked for, and the ends of what was asked for. Like `_Refused`, equal to itself alone."""

    rows: tuple[ReviewRow, ...]
    asked: frozenset[tuple[str, str, int]]


class Proposing:
    """The maker of proposals."""

    def __init__(
        self,
        store: Store,
        publisher: Publisher,
        clock_ms: Callable[[], int],
        watchlist: Watchlist,
        leases: Leases,
        learning: Learning,
    ) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._watchlist = watchlist
        self._leases = leases
        self._learning = learning
        self._refused = Remembered[_Refused]()
        self._new = Remembered[_New]()
        self._rows = Remembered[tuple[ReviewRow, ...]]()
        self._same = Remembered[bool]()

    def refresh(self) -> StoredProposal | None:
        """The open proposal, made or replaced when what was learned asks for something else; ``None`` when nothing is new."""
        policy = self._coming()
        wanted = self._wanted(policy)
        now_ms = self._clock_ms()
        current = next(iter(self._store.proposals(OPEN, 1)), None)
        if current is not None and self._asks(current, wanted):
            return current
        if current is None and not wanted:
            return None
        with self._store.transaction() as transaction:
            # Read again, now that nobody else writes: two callers at once must not make two open proposals.
            current = next(iter(self._store.proposals(OPEN, 1)), None)
            if current is not None and self._asks(current, wanted):
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

    def _asks(self, proposal: StoredProposal, wanted: tuple[ReviewRow, ...]) -> bool:
        """Whether a proposal asks just these questions."""
        text = proposal.document
        return self._same.answer((text, wanted), lambda: same_rows(load_proposal(text), wanted))

    def _wanted(self, policy: Policy) -> tuple[ReviewRow, ...]:
        """The rows to review, odd ones on top. What was made of the same as the last time is not made again."""
        graph, topology = self._learning.graph(), self._publisher.topology
        rejected = tuple(self._store.proposals(REJECTED, 1000))
        refused = self._refused.answer((rejected,), lambda: _refused(rejected))
        asks = tuple(self._store.asks(MAX_ASKS))
        new = self._new.answer(
            (policy, graph, topology, refused, asks), lambda: self._added(policy, graph, topology, refused, asks)
        )
        removals = self._removals(policy, graph, refused)
        unused = self._unused(policy, graph, topology, refused.turned_down, new.asked)
        return self._rows.answer((new, removals, unused), lambda: review_order([*new.rows, *removals, *unused]))

    def _unused(
        self,
        policy: Policy,
        graph: LearnedGraph,
        topology: Topology,
        rejected: Rejected,
        asked: Collection[tuple[str, str, int]],
    ) -> list[ReviewRow]:
        """Edges of exceptions that nobody used, but for those that somebody asked for."""
        grants = self._store.grants(MAX_EXCEPTIONS, active=False)
        found = unused_exceptions(grants, graph.edges, policy, rejected, topology, self._clock_ms())
        return [row for row in found if row.edge.ends[:3] not in asked]

    def _added(self, policy: Policy, graph: LearnedGraph, topology: Topology, refused: _Refused, asks: Sequence[Ask]) -> _New:
        """What was seen or asked for and is not approved."""
        found = propose(policy, graph.edges, refused.turned_down)
        asked = _asked(policy, found, asks)
        seen = set(found)
        edges = [*found, *(edge for edge in asked if edge not in seen)]
        if not edges:
            return _New((), frozenset())
        approved = Approved(policy)
        surroundings = surroundings_of(topology, self._watchlist.sensitive, self._watchlist.low_trust, graph.crowded)
        trusted = (edge for edge in graph.edges if approved.holds(edge))
        # What was only asked for was never seen: it is held against the graph like anything that is new.
        unseen = [edge for edge in edges if not edge.count]
        marked = {edge.ends: marks for edge, marks in find_oddities([*graph.edges, *unseen], trusted, surroundings).items()}
        rows = tuple(ReviewRow(edge, marked.get(edge.ends, ()), asked=asked.get(edge)) for edge in edges)
        return _New(rows, frozenset(edge.ends[:3] for edge in asked))

    def _removals(self, policy: Policy, graph: LearnedGraph, refused: _Refused) -> list[ReviewRow]:
        """Approved edges that should go, but for those that somebody wanted to keep a short while ago."""
        kept = {ends for decided_ms, ends in refused.removals if self._leases.is_kept(decided_ms)}
        found = self._leases.removals(policy, graph.edges)
        return [ReviewRow(held.edge, removal=reason) for held, reason in found if held.edge.ends not in kept]


def _refused(rejected: Iterable[StoredProposal]) -> _Refused:
    rows = [(proposal.decided_ms, row) for proposal in rejected for row in load_proposal(proposal.document)]
    return _Refused(
        Rejected(row.edge for _, row in rows if not row.removal),
        tuple((decided_ms, row.edge.ends) for decided_ms, row in rows if row.removal),
    )


def _asked(policy: Policy, found: Collection[GraphEdge], asks: Iterable[Ask]) -> Mapping[GraphEdge, Asked]:
    """Edges that somebody asked for and that are not approved; one that was seen as well is that very edge."""
    approved = Approved(policy)
    seen = {edge.ends[:3]: edge for edge in found}
    asked: dict[GraphEdge, Asked] = {}
    for ask in asks:
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
