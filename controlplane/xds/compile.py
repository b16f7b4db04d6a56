"""`compile_snapshot(policy, topology, ...)`: everything that one sidecar is told. Pure; sends nothing.

A sidecar is told only of what it may reach (design decision 4). Parts that several sidecars share, or that did not change,
are built once: what is kept is kept with every input that it was built from, and one of a kind replaces the one before.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator
from dataclasses import dataclass

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import DenyId, Reason
from controlplane.policy.rules import Mode, Policy, ServicePolicy
from controlplane.topology.model import Service, ServiceName, Topology
from controlplane.topology.protocol import Handling, handling
from controlplane.xds import admission, clusters, inbound, outbound, tls, types
from controlplane.xds.allowlist import AllowListBuilder
from controlplane.xds.lists import lists_of
from controlplane.xds.reach import Reach
from controlplane.xds.sharing import Shared
from controlplane.xds.snapshot import Resource, Snapshot
from controlplane.xds.upstream import Upstream

#: More kept parts than this are forgotten together. There are a few per service.
PARTS_KEPT = 100_000


@dataclass(frozen=True, slots=True)
class _Inbound:
    """What the inbound part of a service's snapshot was built from, and the part."""

    service: Service
    policy: ServicePolicy
    mode: Mode
    blocked: tuple[WorkloadId, ...]
    resources: tuple[Resource, ...]

    def fits(self, service: Service, policy: ServicePolicy, mode: Mode, blocked: tuple[WorkloadId, ...]) -> bool:
        """Whether it would be built the same. The list is compared as an object: comparing it costs what building it costs."""
        return self.policy is policy and self.mode is mode and self.blocked == blocked and self.service == service


class Compiler:
    """Compiles snapshots of one trust domain, remembering the bytes of what several of them hold."""

    def __init__(self, trust: tls.Trust) -> None:
        self.trust = trust
        self._allow_lists = AllowListBuilder(trust.trust_domain)
        self._peers = tls.PeersSecretBuilder(trust)
        self._secrets = (tls.bundle_secret(trust), tls.roots_secret(trust))
        self._shared = Shared()
        self._parts: dict[tuple[Hashable, ...], tuple[object, tuple[Resource, ...]]] = {}
        self._inbound_parts: dict[ServiceName, _Inbound] = {}
        self._reach = Reach(Policy(), Topology())

    def compile_snapshot(self, policy: Policy, topology: Topology, workload: WorkloadId) -> Snapshot | None:
        """The snapshot of a workload's sidecars; ``None`` when the topology does not know the workload."""
        source = topology.by_workload.get(workload)
        if source is None:
            return None
        reach = self._reach
        if reach.policy is not policy or reach.topology is not topology:
            reach = self._reach = Reach(policy, topology)
        found = [*self._inbound(reach, source), *self._outbound(reach, source)]
        wanted = {need for resource in found for need in resource.needs}
        found += [secret for secret in self._secrets if (types.SECRET, secret.name) in wanted]
        return Snapshot.of(found, policy.revision)

    def _part(self, slot: tuple[Hashable, ...], key: object, build: Callable[[], Iterable[Resource]]) -> tuple[Resource, ...]:
        """What was built for a slot, if it was built from an equal key."""
        kept = self._parts.get(slot)
        if kept is not None and kept[0] == key:
            return kept[1]
        if len(self._parts) >= PARTS_KEPT:
            self._parts.clear()
        built = tuple(build())
        self._parts[slot] = (key, built)
        return built

    def _inbound(self, reach: Reach, service: Service) -> tuple[Resource, ...]:
        policy, mode = reach.policy.of(service.name), reach.policy.mode(service.name)
        blocked = tuple(workload for workload in reach.quarantined if workload != service.workload)
        kept = self._inbound_parts.get(service.name)
        if kept is None or not kept.fits(service, policy, mode, blocked):
            if len(self._inbound_parts) >= PARTS_KEPT:
                self._inbound_parts.clear()
            kept = _Inbound(service, policy, mode, blocked, tuple(self._build_inbound(service, policy, mode, blocked)))
            self._inbound_parts[service.name] = kept
        return kept.resources

    def _build_inbound(
        self, service: Service, policy: ServicePolicy, mode: Mode, blocked: tuple[WorkloadId, ...]
    ) -> Iterator[Resource]:
        lists = lists_of(policy.rules)
        shape = inbound.shape_of(service, policy, lists, mode, blocked)
        yield from self._part(("inbound", service.name), shape, lambda: inbound.listeners(shape))
        yield from self._part(
            ("application", service.name), service, lambda: [clusters.application(service, p) for p in inbound.ports_of(service)]
        )
        yield from admission.allow_lists(shape, policy, lists, mode, blocked, self._allow_lists)
        yield from admission.handshake_lists(shape, lists, mode, blocked, self._peers)

    def _outbound(self, reach: Reach, source: Service) -> Iterator[Resource]:
        mode = reach.policy.mode(source.name)
        reason = Reason.QUARANTINE if mode is Mode.QUARANTINE else Reason.EGRESS
        deny_id = str(DenyId(source.name, reach.policy.of(source.name).egress_revision, reason))
        unknown = {Mode.LEARN: "", Mode.AUDIT: f"would-{deny_id}"}.get(mode, deny_id)
        shape = outbound.Shape(source, tuple(reach.upstreams(source, deny_id)), deny_id, unknown, reach.silent_ports)
        yield from self._part(("outbound", source.name), shape, lambda: outbound.resources(shape, self._shared))
        for upstream in shape.upstreams:
            if upstream.allowed:
                yield from self._upstream(upstream)
        yield from self._part(("edges of the mesh",), None, clusters.edges)

    def _upstream(self, upstream: Upstream) -> tuple[Resource, ...]:
        service, port = upstream.service, upstream.port

        def build() -> Iterator[Resource]:
            if not service.meshed:
                yield clusters.unguarded(service, port)
                return
            yield clusters.mesh(service, port, self.trust)
            if handling(port.protocol) is Handling.INSPECT:
                yield clusters.mesh(service, port, self.trust, inspected_http=True)
            yield clusters.mesh_endpoints(service, port)

        return self._part(("upstream", service.name, port.number), service, build)
