"""Asking for an edge: it stands in the open proposal, whether or not it was seen, until somebody decides. Approves nothing."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from controlplane.graph.cover import Approved, covers
from controlplane.graph.learn import GraphEdge, edge_for
from controlplane.graph.proposal import load_proposal
from controlplane.policy.asks import Ask
from controlplane.policy.grants import lasting
from controlplane.policy.revise import revise, rule_sets
from controlplane.policy.rules import HttpMatch, Rule
from controlplane.store.interface import Store
from controlplane.store.stored import StoredProposal
from controlplane.topology.model import ServiceName
from controlplane.workflow.breakglass import MAX_ACTIVE
from controlplane.workflow.proposing import MAX_ASKS, REJECTED
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Done, Refused, Why, as_json
from controlplane.workflow.scopes import outside_ends

#: Wishes of one person that may wait at once.
MAX_ASKS_EACH = 500
MAX_REJECTED = 1000


@dataclass(frozen=True, slots=True)
class Waiting:
    """A wish that awaits review; it is not new where somebody asked before."""

    ask: Ask
    is_new: bool


class Asking:
    """The writer of wishes."""

    def __init__(self, store: Store, publisher: Publisher, clock_ms: Callable[[], int]) -> None:
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms

    def ask(
        self, service: ServiceName, rule: Rule, protocol: str, actor: str, reason: str, link: str = "", *, again: bool = False
    ) -> Waiting | Done | Refused:
        """Ask for an edge: the wish, new or as it waits already; `Done` when nothing of it is missing.

        What was rejected is asked for only ``again``: a pipeline that runs every hour does not overrule a person.
        """
        if (outside := outside_ends(str(rule.source), str(service))) is not None:
            return outside
        edge = edge_for(service, rule, protocol)
        if self._approved().holds(edge):
            return Done("it is approved already")
        if not again and (rejected := self._rejected(edge)) is not None:
            why = f": {rejected.comment}" if rejected.comment else ""
            return Refused(f"{rejected.decided_by} rejected it in proposal {rejected.number}{why}", Why.CONFLICT)
        now_ms = self._clock_ms()
        wish = Ask(0, service, rule, protocol, actor, reason, link, now_ms)
        with self._store.transaction() as transaction:
            waiting = self._store.asks(MAX_ASKS)
            same = next((ask for ask in waiting if ask.wish == wish.wish), None)
            if same is not None:
                return Waiting(same, is_new=False)
            if sum(ask.actor == actor for ask in waiting) >= MAX_ASKS_EACH or len(waiting) >= MAX_ASKS:
                return Refused(f"{len(waiting)} wishes wait already; have some of them decided first", Why.CONFLICT)
            made = transaction.add_ask(wish)
            detail: dict[str, object] = {"reason": reason, "link": link, "http": [[m.method, m.path] for m in rule.http]}
            transaction.add_audit(actor, "edge:ask", f"{rule.source} -> {service}:{rule.port}", as_json(detail), now_ms)
        return Waiting(made, is_new=True)

    def _approved(self) -> Approved:
        """What is approved; what is allowed for a time alone has to be asked for like anything else."""
        policy, grants = self._publisher.policy, self._store.grants(MAX_ACTIVE, active=True)
        return Approved(revise(policy, lasting(rule_sets(policy), grants), policy.revision) if grants else policy)

    def _rejected(self, edge: GraphEdge) -> StoredProposal | None:
        """The newest proposal in which somebody said no to just this."""
        for proposal in self._store.proposals(REJECTED, MAX_REJECTED):
            for row in load_proposal(proposal.document):
                if row.edge.ends[:3] == edge.ends[:3] and not row.removal and _says_no(row.edge, edge):
                    return proposal
        return None


def _says_no(rejected: GraphEdge, wanted: GraphEdge) -> bool:
    no = rejected.http or (HttpMatch(),)
    return all(any(covers(other, match) for other in no) for match in wanted.http or (HttpMatch(),))
