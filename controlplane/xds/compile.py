"""`compile_snapshot(policy, topology, ...)`: everything that one sidecar is told. Pure; sends nothing.

A sidecar is told only of what it may reach (design decision 4). Parts that several sidecars share, or that did not change,
are built once: each cache is keyed by every input of what it keeps.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import DenyId, Reason, approved_ports, egress_mode, may_reach
from controlplane.policy.rules import Mode, Policy
from controlplane.topology.model import Service, Topology
from controlplane.topology.protocol import Handling, handling
from controlplane.xds import clusters, inbound, outbound, types
from controlplane.xds.allowlist import AllowListBuilder
from controlplane.xds.snapshot import Resource, Snapshot
from controlplane.xds.tls import BUNDLE, Trust, bundle_secret

_CACHE_LIMIT = 50_000


class Compiler:
    """Compiles snapshots of one trust domain, remembering the bytes of what several of them hold."""

    def __init__(self, trust: Trust) -> None:
        self.trust = trust
        self._allow_lists = AllowListBuilder(trust.trust_domain)
        self._parts: dict[Hashable, tuple[Resource, ...]] = {}

    def compile_snapshot(self, policy: Policy, topology: Topology, workload: WorkloadId) -> Snapshot | None:
        """The snapshot of a workload's sidecars; ``None`` when the topology does not know the workload."""
        source = topology.by_workload.get(workload)
        if source is None:
            return None
        found: dict[tuple[str, str], Resource] = {}
        for resource in (*self._inbound(policy, source), *self._outbound(policy, topology, source)):
            found[resource.type_url, resource.name] = resource
        bundle = self._part(("bundle", self.trust), lambda: [bundle_secret(self.trust)])[0]
        if any((types.SECRET, BUNDLE) in resource.needs for resource in found.values()):
            found[types.SECRET, BUNDLE] = bundle
        return Snapshot.of(found.values(), policy.revision)

    def _part(self, key: Hashable, build: Callable[[], Iterable[Resource]]) -> tuple[Resource, ...]:
        cached = self._parts.get(key)
        if cached is None:
            if len(self._parts) >= _CACHE_LIMIT:
                self._parts.clear()
            cached = self._parts[key] = tuple(build())
        return cached

    def _inbound(self, policy: Policy, service: Service) -> Iterator[Resource]:
        allow_list = policy.of(service.name)
        mode = policy.mode(service.name)
        shape = inbound.shape_of(service, allow_list, mode)
        blocked = _quarantined(policy, service)
        yield from self._part(("inbound", shape), lambda: inbound.listeners(shape))
        yield from self._part(("application", service), lambda: inbound.application_clusters(service))
        yield from inbound.allow_lists(shape, allow_list, mode, blocked, self._allow_lists)
        yield from inbound.handshake_lists(service, allow_list, mode, blocked, self.trust)

    def _outbound(self, policy: Policy, topology: Topology, source: Service) -> Iterator[Resource]:
        mode = policy.mode(source.name)
        egress_revision = policy.of(source.name).egress_revision
        reason = Reason.QUARANTINE if mode is Mode.QUARANTINE else Reason.EGRESS
        deny_id = str(DenyId(source.name, egress_revision, reason))
        unknown = {Mode.LEARN: "", Mode.AUDIT: f"would-{deny_id}"}.get(mode, deny_id)
        shape = outbound.Shape(source, tuple(_upstreams(policy, topology, source, mode, deny_id)), deny_id, unknown)
        yield from self._part(("outbound", shape), lambda: outbound.resources(shape))
        for upstream in shape.upstreams:
            if upstream.allowed:
                yield from self._upstream(upstream.service, upstream)
        yield from self._part(("edges of the mesh",), lambda: (clusters.passthrough(), clusters.blackhole()))

    def _upstream(self, service: Service, upstream: outbound.Upstream) -> tuple[Resource, ...]:
        port = upstream.port
        if not service.meshed:
            return self._part(("external", service, port), lambda: [clusters.external(service, port)])

        def build() -> Iterator[Resource]:
            yield clusters.mesh(service, port, self.trust)
            if handling(port.protocol) is Handling.INSPECT:
                yield clusters.mesh(service, port, self.trust, inspected_http=True)
            yield clusters.mesh_endpoints(service, port)

        return self._part(("mesh", service, port, self.trust), build)


def _quarantined(policy: Policy, service: Service) -> tuple[WorkloadId, ...]:
    """Workloads that may call nobody, in a stable order."""
    names = (name for name, mode in policy.modes.items() if mode is Mode.QUARANTINE and name != service.name)
    return tuple(sorted(WorkloadId(name.namespace, name.name) for name in names))


def _upstreams(
    policy: Policy, topology: Topology, source: Service, mode: Mode, deny_id: str
) -> Iterator[outbound.Upstream]:
    """Ports that the source may reach; those that it may not only where they would otherwise pass as unknown."""
    explicit = source.capture != "redirect"
    for service in topology.services.values():
        reachable = may_reach(policy, source.workload, service.name)
        for port in service.ports:
            allowed = reachable is None or port.number in reachable
            if not (allowed or explicit or mode in {Mode.LEARN, Mode.AUDIT}):
                continue
            reported = ""
            if allowed and not service.meshed and egress_mode(policy, source.workload, service.name) is Mode.AUDIT:
                if port.number not in approved_ports(policy, source.workload, service.name):
                    reported = f"would-{deny_id}"
            yield outbound.Upstream(service, port, allowed, reported)
