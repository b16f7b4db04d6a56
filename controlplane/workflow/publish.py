"""Publishes: what is in force, whom a change of it concerns, and the compiled snapshot of each workload. Sends nothing."""

from __future__ import annotations

import threading
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.documents import load_policy
from controlplane.policy.rollouts import Rollout, Stage
from controlplane.policy.rules import EXTERNAL_NAMESPACE, Mode, Policy
from controlplane.store.interface import Store
from controlplane.topology.model import Kind, Port, Service, Topology, is_ip_address
from controlplane.workflow.concerns import concerned_by, told_of
from controlplane.xds.compile import Compiler
from controlplane.xds.snapshot import Snapshot


class CompileError(Exception):
    """A workload's snapshot cannot be compiled: a mistake of the compiler, or a policy that should not have been approved."""


@dataclass(frozen=True, slots=True)
class InForce:
    """What everybody is to run now: the policy, and what exists, approved hosts included.

    ``rollouts`` are those whose sidecars run the ``trial`` instead: the policy with their services in enforce, or a revision that
    is not in force yet, with the hosts that it approves.
    """

    policy: Policy
    topology: Topology
    rollouts: Mapping[WorkloadId, Rollout] = field(default_factory=dict)
    trial: Policy | None = None
    trial_topology: Topology | None = None


@dataclass(frozen=True, slots=True)
class Staged:
    """A second snapshot of a workload, which some of its sidecars run: those that ``rollout`` includes."""

    snapshot: Snapshot
    rollout: Rollout


@dataclass(frozen=True, slots=True)
class Change:
    """Something else is in force. ``concerned`` certainly have something new; with ``everyone`` any other may have, too."""

    revision: int
    concerned: frozenset[WorkloadId]
    everyone: bool


def with_approved_hosts(topology: Topology, policy: Policy) -> Topology:
    """The topology and the hosts outside it that some rule approves."""
    services = dict(topology.services)
    for name, listed in policy.services.items():
        if name.namespace != EXTERNAL_NAMESPACE or name in services or not listed.rules:
            continue
        ports = tuple(
            Port(number, "http" if any(r.http for r in listed.rules if r.port == number) else "https", number)
            for number in sorted({rule.port for rule in listed.rules})
        )
        addresses = (name.name,) if is_ip_address(name.name) else ()
        if addresses:
            # An address is no name: what is sent there is looked at only where rules ask for methods.
            ports = tuple(replace(port, protocol="auto" if port.protocol == "http" else "tcp") for port in ports)
        services[name] = Service(name, Kind.EXTERNAL, ports, addresses, addresses)
    return topology if len(services) == len(topology.services) else Topology(services)


def load_active_policy(store: Store, default_mode: Mode, published: Policy | None = None) -> Policy:
    """The policy in force, with its modes. ``published`` is one that is in memory; it is taken if it is the one in force."""
    number = store.active_revision()
    modes = store.modes()
    if published is not None and published.revision == number:
        return replace(published, modes=modes, default_mode=default_mode)
    stored = store.revision(number) if number else None
    if stored is None:
        return Policy(0, {}, modes, default_mode)
    return load_policy(stored.document, stored.number, modes, default_mode)


def load_revision(store: Store, number: int, modes_of: Policy) -> Policy:
    """A stored revision's rules, with the modes of another policy; 0 is the empty one before the first."""
    stored = store.revision(number) if number else None
    if stored is None:
        return Policy(number, {}, modes_of.modes, modes_of.default_mode)
    return load_policy(stored.document, number, modes_of.modes, modes_of.default_mode)


#: As many as may run at once, and more.
_MAX_ROLLOUTS = 1_000


def load_in_force(store: Store, policy: Policy, topology: Topology, declared: Topology) -> InForce:
    """The policy with the rollouts under way.

    One whose service has another mode by now, such as quarantine, counts no more, nor one of a revision that began from another.
    """
    running = _under_way(store, policy, topology)
    if not running:
        return InForce(policy, topology)
    revision = next(iter(running.values())).revision
    if revision is not None:
        trial = load_revision(store, revision, policy)
        return InForce(policy, topology, running, trial, with_approved_hosts(declared, trial))
    modes = {**policy.modes, **{rollout.service: Mode.ENFORCE for rollout in running.values()}}
    return InForce(policy, topology, running, replace(policy, modes=modes))


def _under_way(store: Store, policy: Policy, topology: Topology) -> dict[WorkloadId, Rollout]:
    running: dict[WorkloadId, Rollout] = {}
    for rollout in store.rollouts(_MAX_ROLLOUTS, running=True):
        service = topology.services.get(rollout.service)
        if service is None or rollout.stage is Stage.ALL:
            continue
        if policy.revision == rollout.base if rollout.revision is not None else policy.mode(rollout.service) is rollout.before:
            running[service.workload] = rollout
    return running


class Publisher:
    """Holds what is in force. Safe to call from several threads."""

    def __init__(self, store: Store, topology: Topology, compiler: Compiler, default_mode: Mode) -> None:
        self._store = store
        self._declared = topology
        self._compiler = compiler
        # One of its own: a compiler remembers what it built last, and would build both policies anew at each turn.
        self._trial_compiler = Compiler(compiler.trust)
        self._default_mode = default_mode
        self._lock = threading.Lock()
        self._changed: Callable[[Change], None] = _nobody
        policy = load_active_policy(store, default_mode)
        # One value, so that whoever reads without the lock never sees a policy with another one's topology.
        self._in_force = load_in_force(store, policy, with_approved_hosts(topology, policy), topology)

    def connect(self, changed: Callable[[Change], None]) -> None:
        """Say who hears of changes. It is called from whatever thread made the change, and must not wait."""
        self._changed = changed

    @property
    def in_force(self) -> InForce:
        """The policy and the topology that belong together."""
        return self._in_force

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._in_force.policy

    @property
    def topology(self) -> Topology:
        """What exists, approved hosts included."""
        return self._in_force.topology

    @property
    def declared(self) -> Topology:
        """What the topology declares, without hosts that only rules name."""
        return self._declared

    def snapshot(self, workload: WorkloadId) -> Snapshot | None:
        """What a workload's sidecars are to run now; ``None`` when the topology does not know it.

        Raises:
            CompileError: it cannot be compiled.
        """
        now = self._in_force
        return _compiled(self._compiler, now.policy, now.topology, workload)

    def staged(self, workload: WorkloadId) -> Staged | None:
        """What some of a workload's sidecars are to run instead; ``None`` when no rollout of it is under way.

        Raises:
            CompileError: it cannot be compiled.
        """
        now = self._in_force
        rollout = now.rollouts.get(workload)
        if rollout is None or now.trial is None:
            return None
        snapshot = _compiled(self._trial_compiler, now.trial, now.trial_topology or now.topology, workload)
        return None if snapshot is None else Staged(snapshot, rollout)

    def staged_version(self, rollout: Rollout) -> str:
        """The version that the sidecars of a rollout's stage have when they took it; empty when it is not in force here.

        Raises:
            CompileError: it cannot be compiled.
        """
        service = self._in_force.topology.services.get(rollout.service)
        if service is None:
            return ""
        if rollout.stage is Stage.ALL:
            snapshot = self.snapshot(service.workload)
        else:
            staged = self.staged(service.workload)
            snapshot = staged.snapshot if staged is not None and staged.rollout == rollout else None
        return "" if snapshot is None else snapshot.version

    def trust(self, bundle_pem: bytes) -> None:
        """Compile with these roots from now on; everybody is told."""
        with self._lock:
            self._compiler, self._trial_compiler = self._compiler.trusting(bundle_pem), self._trial_compiler.trusting(bundle_pem)
            self._changed(Change(self._in_force.policy.revision, frozenset(), everyone=True))

    def refresh(self, published: Policy | None = None) -> Policy:
        """Read what is in force and tell of what changed. Whoever made a revision hands it over, so that it is not parsed again."""
        with self._lock:
            before = self._in_force
            policy = load_active_policy(self._store, self._default_mode, published)
            # The same objects where nothing differs: indexes of them are made already.
            policy = before.policy if policy == before.policy else policy
            topology = _known_again(before.topology, with_approved_hosts(self._declared, policy))
            after = self._in_force = load_in_force(self._store, policy, topology, self._declared)
            self._changed(_change(before, after))
            return policy

    def is_current(self) -> bool:
        """Whether the store holds what is in force here. A change is read back after its commit, and that may fail.

        Raises:
            StoreError: the database refused.
        """
        now, store = self._in_force, self._store
        policy = now.policy
        if store.active_revision() != policy.revision or store.modes() != policy.modes:
            return False
        return _under_way(store, policy, now.topology) == now.rollouts

    def declare(self, topology: Topology) -> None:
        """Something else exists from now on; whom it concerns is told."""
        self._declared = topology
        self.refresh(self.policy)

    def follow(self) -> None:
        """Read what others put into force. What did not change is not parsed again."""
        self.refresh(self.policy)


def _change(before: InForce, after: InForce) -> Change:
    """Whom a change concerns. One of modes may show in every caller's upstreams."""
    ids = before.rollouts.keys() | after.rollouts.keys()
    found = {workload for workload in ids if before.rollouts.get(workload) != after.rollouts.get(workload)}
    found |= concerned_by(before.policy, after.policy)
    everyone = before.policy.modes != after.policy.modes
    if not everyone and before.topology is not after.topology:
        told = told_of(before.topology, after.topology, (before.policy, after.policy))
        everyone, found = told is None, found | (told or set())
    return Change(after.policy.revision, frozenset(found), everyone)


def _known_again(before: Topology, after: Topology) -> Topology:
    """The same topology, made of the objects of the one before where they are equal: what is kept of them is known by them."""
    if before == after:
        return before
    return Topology(
        {name: kept if (kept := before.services.get(name)) == service else service for name, service in after.services.items()}
    )


def _compiled(compiler: Compiler, policy: Policy, topology: Topology, workload: WorkloadId) -> Snapshot | None:
    try:
        return compiler.compile_snapshot(policy, topology, workload)
    except (ValueError, KeyError) as error:
        raise CompileError(f"revision {policy.revision}: {error}") from error


def _nobody(_: Change) -> None:
    """Before the server runs nobody follows."""
