"""Publishes: the policy in force, compiled for whoever is connected and concerned. The only caller of the compiler."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.documents import load_policy
from controlplane.policy.revise import changed_services
from controlplane.policy.rules import EXTERNAL_NAMESPACE, AddressSource, Mode, Policy
from controlplane.store.interface import Store
from controlplane.topology.model import Kind, Port, Service, Topology, is_ip_address
from controlplane.xds.compile import Compiler
from controlplane.xds.snapshot import Snapshot

Deliver = Callable[[Mapping[WorkloadId, Snapshot]], None]


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
            ports = tuple(replace(port, protocol="tcp") for port in ports)
        services[name] = Service(name, Kind.EXTERNAL, ports, addresses, addresses)
    return topology if len(services) == len(topology.services) else Topology(services)


def load_active_policy(store: Store, default_mode: Mode) -> Policy:
    """The policy in force, with its modes."""
    number = store.active_revision()
    modes = store.modes()
    stored = store.revision(number) if number else None
    if stored is None:
        return Policy(0, {}, modes, default_mode)
    return load_policy(stored.document, stored.number, modes, default_mode)


class Publisher:
    """Holds the policy in force. Safe to call from several threads; ``deliver`` hands snapshots to the server."""

    def __init__(self, store: Store, topology: Topology, compiler: Compiler, default_mode: Mode) -> None:
        self._store = store
        self._declared = topology
        self._compiler = compiler
        self._default_mode = default_mode
        self._lock = threading.Lock()
        self._policy = load_active_policy(store, default_mode)
        self._topology = with_approved_hosts(topology, self._policy)
        self._deliver: Deliver = _nobody
        self._watched: Callable[[], Iterable[WorkloadId]] = tuple

    def connect(self, deliver: Deliver, watched: Callable[[], Iterable[WorkloadId]]) -> None:
        """Say who takes snapshots and whose are wanted."""
        self._deliver, self._watched = deliver, watched

    @property
    def policy(self) -> Policy:
        """The policy in force."""
        return self._policy

    @property
    def topology(self) -> Topology:
        """What exists, approved hosts included."""
        return self._topology

    @property
    def declared(self) -> Topology:
        """What the topology declares, without hosts that only rules name."""
        return self._declared

    def snapshot(self, workload: WorkloadId) -> Snapshot | None:
        """What a workload's sidecars are to run now."""
        with self._lock:
            return self._compile(workload)

    def refresh(self) -> Policy:
        """Read what is in force and publish to those whose part of it changed."""
        with self._lock:
            before, topology_before = self._policy, self._topology
            self._policy = load_active_policy(self._store, self._default_mode)
            self._topology = with_approved_hosts(self._declared, self._policy)
            concerned = self._concerned(before, topology_before)
            snapshots = {
                workload: snapshot
                for workload in self._watched()
                if (concerned is None or workload in concerned) and (snapshot := self._compile(workload)) is not None
            }
            self._deliver(snapshots)
            return self._policy

    def _compile(self, workload: WorkloadId) -> Snapshot | None:
        return self._compiler.compile_snapshot(self._policy, self._topology, workload)

    def _concerned(self, before: Policy, topology_before: Topology) -> frozenset[WorkloadId] | None:
        """Workloads whose snapshot may differ; ``None`` for all. A change of mode shows in every caller's upstreams."""
        after = self._policy
        if before.modes != after.modes or topology_before != self._topology:
            return None
        found: set[WorkloadId] = set()
        for name in changed_services(before, after):
            found.add(WorkloadId(name.namespace, name.name))
            for rule in {*before.of(name).rules} ^ {*after.of(name).rules}:
                if not isinstance(rule.source, AddressSource):
                    found.add(rule.source)
        return frozenset(found)


def _nobody(_: Mapping[WorkloadId, Snapshot]) -> None:
    """Before the server runs nobody takes snapshots."""


