"""What is approved of some namespaces, as documents to be written elsewhere. Publishes nothing, and knows no cluster.

What is allowed for a time alone is left out: a document that is kept would have it last.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass

from controlplane.policy.grants import Grant, lasting
from controlplane.policy.leases import EdgeLease
from controlplane.policy.revise import rule_sets
from controlplane.policy.rules import Mode, Policy, ServicePolicy, rule_order
from controlplane.policy.traffic_documents import documents_of
from controlplane.policy.traffic_policy import Lease, TrafficPolicy
from controlplane.policy.traffic_text import object_name
from controlplane.store.interface import Store
from controlplane.workflow.breakglass import MAX_ACTIVE
from controlplane.workflow.publish import InForce, Publisher


@dataclass(frozen=True, slots=True)
class ApprovedDocument:
    """A service's document, and the revision in which its allow-list last changed."""

    document: TrafficPolicy
    revision: int

    @property
    def service(self) -> str:
        """``namespace/name``."""
        return str(self.document.service)

    @property
    def key(self) -> str:
        """``namespace/name`` of its object."""
        return str(object_name(self.document.service)[0])


@dataclass(frozen=True, slots=True)
class _Basis:
    """What documents are made from."""

    in_force: InForce
    namespaces: frozenset[str]
    grants: tuple[Grant, ...]
    leases: tuple[EdgeLease, ...]

    def is_same(self, other: _Basis) -> bool:
        """Whether the same documents come of both, as far as that can be told without making them."""
        mine, theirs = self.in_force, other.in_force
        return (mine.policy, mine.topology) == (theirs.policy, theirs.topology) and self._rest == other._rest

    @property
    def _rest(self) -> tuple[object, ...]:
        return self.namespaces, self.grants, self.leases


class ApprovedDocuments:
    """Reads what is approved, and makes documents of it where it is something else than before. For one thread at a time."""

    def __init__(self, store: Store, publisher: Publisher) -> None:
        self._store = store
        self._publisher = publisher
        self._made: tuple[_Basis, tuple[ApprovedDocument, ...]] | None = None

    def of(self, namespaces: Collection[str]) -> tuple[int, tuple[ApprovedDocument, ...]]:
        """The revision in force, and the documents of services that have an allow-list, or a mode beyond learning of their own.

        Raises:
            StoreError: the database refused.
        """
        now = self._publisher.in_force
        if not namespaces:
            return now.policy.revision, ()
        basis = _Basis(
            now,
            frozenset(namespaces),
            tuple(grant for grant in self._store.grants(MAX_ACTIVE, active=True) if grant.service.namespace in namespaces),
            tuple(lease for lease in self._store.leases() if lease.service.namespace in namespaces and lease.lease != Lease()),
        )
        if self._made is None or not self._made[0].is_same(basis):
            self._made = (basis, _documents(basis))
        return now.policy.revision, self._made[1]


def _documents(basis: _Basis) -> tuple[ApprovedDocument, ...]:
    policy, topology, wanted = basis.in_force.policy, basis.in_force.topology, basis.namespaces
    rules = lasting({name: rules for name, rules in rule_sets(policy).items() if name.namespace in wanted}, basis.grants)
    services = {
        name: ServicePolicy(name, tuple(sorted(kept, key=rule_order)), policy.of(name).revision) for name, kept in rules.items()
    }
    modes = {name: mode for name, mode in policy.modes.items() if name.namespace in wanted}
    protocols = {
        name: {port.number: port.protocol for port in service.ports}
        for name, service in topology.services.items()
        if name.namespace in wanted
    }
    leases = {lease.held: lease.lease for lease in basis.leases}
    made = documents_of(Policy(policy.revision, services, modes, policy.default_mode), protocols, leases)
    return tuple(
        ApprovedDocument(document, policy.of(document.service).revision)
        for document in made
        if document.rules or document.mode not in {None, Mode.LEARN}
    )
