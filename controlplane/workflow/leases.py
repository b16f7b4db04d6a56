"""Leases of approved edges: kept with what is approved, shown with the last use, renewed. Takes nothing away by itself."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from controlplane.graph.evidence import DAY_MS
from controlplane.graph.learn import GraphEdge
from controlplane.graph.upkeep import HeldEdge, held_edges, last_uses, removal_reason
from controlplane.policy.leases import EdgeLease, WrittenLeases, written_leases
from controlplane.policy.rules import Policy
from controlplane.policy.traffic_policy import Lease, TrafficPolicy
from controlplane.store.interface import Store
from controlplane.topology.model import ServiceName
from controlplane.workflow.learning import Learning
from controlplane.workflow.publish import Publisher
from controlplane.workflow.remembered import Remembered
from controlplane.workflow.revisions import Done, Refused, Why, as_json
from controlplane.workflow.scopes import outside_edges


class Leases:
    """Who answers for what is approved."""

    def __init__(
        self, store: Store, publisher: Publisher, clock_ms: Callable[[], int], unused_days: int, learning: Learning
    ) -> None:
        """``unused_days``: an edge that was not used for so long should go; 0 for never."""
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._unused_days = unused_days
        self._learning = learning
        self._edges = Remembered[tuple[HeldEdge, ...]]()

    def held(self, learned: Sequence[GraphEdge] | None = None) -> tuple[HeldEdge, ...]:
        """All approved edges with their leases and last uses. ``learned`` is the graph, where somebody has it."""
        return self._held(self._publisher.policy, learned)

    def keep_last_uses(self, before_ms: int) -> None:
        """Keep the last uses of approved edges that were not used since then, before what is known of those is removed."""
        stale = self._store.edges(before_ms)
        uses = ((edge.key.source, edge.key.destination, edge.key.port, edge.last_seen_ms) for edge in stale)
        if found := last_uses(self._publisher.policy, uses):
            with self._store.transaction() as transaction:
                transaction.keep_last_uses(found)

    def removals(self, policy: Policy, learned: Sequence[GraphEdge] | None = None) -> list[tuple[HeldEdge, str]]:
        """Approved edges that should go, each with the reason in words. As `held`."""
        held = self._held(policy, learned)
        watches, now_ms = self._store.watches() if held else {}, self._clock_ms()
        reasons = ((edge, removal_reason(edge, watches, now_ms, self._unused_days)) for edge in held)
        return [(edge, reason) for edge, reason in reasons if reason]

    def is_kept(self, decided_ms: int | None) -> bool:
        """Whether an edge still stays that somebody wanted to keep then."""
        return self._clock_ms() < (decided_ms or 0) + (self._unused_days or 1) * DAY_MS

    def written(self, documents: Sequence[TrafficPolicy], actor: str) -> WrittenLeases:
        """What applying files would do to the leases that are kept."""
        return written_leases(documents, self._store.leases(), actor, self._clock_ms())

    def renew(self, service: ServiceName, source: str, port: int, lease: Lease, actor: str) -> Done | Refused:
        """Set the lease of an approved edge."""
        if (outside := outside_edges([(source, str(service))])) is not None:
            return outside
        rules = self._publisher.policy.of(service).rules
        if not any((str(rule.source), rule.port) == (source, port) for rule in rules):
            return Refused(f"{source} -> {service}:{port} is not approved", Why.MISSING)
        now_ms = self._clock_ms()
        held = EdgeLease(service, source, port, lease, actor, now_ms)
        if held.expires_ms is not None and held.expires_ms <= now_ms:
            return Refused("the lease would be over already", Why.INVALID)
        detail: dict[str, object] = {
            "owner": lease.owner,
            "reason": lease.reason,
            "ticket": lease.ticket,
            "expires_ms": held.expires_ms,
        }
        with self._store.transaction() as transaction:
            transaction.set_leases([held])
            transaction.add_audit(actor, "lease:renew", f"{source} -> {service}:{port}", as_json(detail), now_ms)
        return Done(f"the lease of {source} -> {service}:{port} is renewed")

    def _held(self, policy: Policy, learned: Sequence[GraphEdge] | None) -> tuple[HeldEdge, ...]:
        if not any(listed.rules for listed in policy.services.values()):
            return ()
        edges = self._learning.graph().edges if learned is None else learned
        kept, times, uses = self._store.leases(), self._store.revision_times(), self._store.last_uses()
        return self._edges.answer(
            (policy, edges, kept, times, uses),
            lambda: held_edges(policy, {lease.held: lease for lease in kept}, edges, times, uses),
        )
