"""Asks for proofs of enforcement: stores which ports of which sidecars are to be tried. Has nobody try them, and judges nothing."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

from controlplane.policy.proofs import ENFORCING, Proof, Target, targets_of
from controlplane.policy.rules import Policy
from controlplane.store.interface import Store
from controlplane.topology.model import ServiceName
from controlplane.workflow.publish import Publisher
from controlplane.workflow.revisions import Refused, Why, as_json
from controlplane.workflow.scopes import outside_services

#: Asked for by one person at once, and open at once by anybody.
MAX_ASKED, MAX_OPEN = 2_000, 100_000
#: The author of what nobody asked for.
PICKET = "picket"


class Proofs:
    """The writer of proofs that are asked for."""

    def __init__(self, store: Store, publisher: Publisher, clock_ms: Callable[[], int], *, enabled: bool = True) -> None:
        """Where it is not ``enabled``, sidecars are not asked to try anything, and nobody can ask for it."""
        self._store = store
        self._publisher = publisher
        self._clock_ms = clock_ms
        self._enabled = enabled

    def ask(self, services: Sequence[ServiceName], actor: str) -> Sequence[Proof] | Refused:
        """Have some services tried, because somebody wants to know; what comes of it is in `store.Store.newest_proofs`."""
        if not self._enabled:
            return Refused("sidecars are not asked to try anything here (--no-proofs)", Why.CONFLICT)
        if (outside := outside_services(services)) is not None:
            return outside
        now = self._publisher.in_force
        wanted: list[Target] = []
        for name in services:
            service, mode = now.topology.services.get(name), now.policy.mode(name)
            if service is None or not service.meshed:
                return Refused(f"there is no service {name} in the mesh", Why.MISSING)
            if mode not in ENFORCING:
                return Refused(f"{name} is in mode {mode}, which drops nothing: there is nothing to prove", Why.CONFLICT)
            wanted += targets_of(service)
        if not wanted:
            return Refused("they have no ports, or it is not known where their sidecars are", Why.CONFLICT)
        if len(wanted) > MAX_ASKED:
            return Refused(f"{len(wanted)} ports of sidecars; at most {MAX_ASKED} are tried at once", Why.INVALID)
        made = self.add(wanted, now.policy, actor)
        known = {proof.target: proof for proof in self._store.newest_proofs()}
        return [proof for target in wanted if (proof := made.get(target) or known.get(target)) is not None]

    def ask_all(self, actor: str) -> Sequence[Proof] | Refused:
        """Have everything tried that drops what is not approved."""
        now = self._publisher.in_force
        services = now.topology.services.values()
        enforcing = [s.name for s in services if now.policy.mode(s.name) in ENFORCING and targets_of(s)]
        if not enforcing:
            return Refused("no service drops what is not approved: there is nothing to prove", Why.CONFLICT)
        return self.ask(enforcing, actor)

    def add(self, targets: Sequence[Target], policy: Policy, actor: str) -> Mapping[Target, Proof]:
        """Store what is not open already; of what a person asks for the audit log knows."""
        if not targets:
            return {}
        now_ms = self._clock_ms()
        made: dict[Target, Proof] = {}
        with self._store.transaction() as transaction:
            for target in targets:
                added = transaction.add_proof(Proof(0, target, policy.revision, actor, now_ms))
                if added is not None:
                    made[target] = added
            if actor != PICKET:
                for service in sorted({target.service for target in targets}):
                    transaction.add_audit(actor, "proof:ask", str(service), as_json({"revision": policy.revision}), now_ms)
        return made
