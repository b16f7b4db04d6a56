"""`compile_snapshot(policy, topology, ...)`: everything that one sidecar is told. Pure; sends nothing.

A sidecar is told only of what it may reach (design decision 4). Parts that several sidecars share, or that did not change,
are built once: what is kept is kept with every input that it was built from, and one of a kind replaces the one before.
Endpoints come and go with replicas, and nothing else looks at them: they are put into a snapshot last.
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Iterable, Iterator, Mapping
from copy import copy
from dataclasses import dataclass, field, replace
from typing import TypeVar
from weakref import ref

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import DenyId, Reason
from controlplane.policy.rules import Mode, Policy, ServicePolicy
from controlplane.topology.model import Port, Service, ServiceName, Topology
from controlplane.topology.protocol import Handling, handling
from controlplane.xds import admission, clusters, inbound, outbound, tls, types
from controlplane.xds.allowlist import AllowListBuilder
from controlplane.xds.faces import Faces
from controlplane.xds.lists import lists_of
from controlplane.xds.reach import Reach
from controlplane.xds.sharing import Shared
from controlplane.xds.snapshot import ByName, Resource, Snapshot
from controlplane.xds.upstream import Upstream

#: More kept parts than this are forgotten together. There are a few per service.
PARTS_KEPT = 100_000

Grouped = Mapping[str, ByName]
K = TypeVar("K")
V = TypeVar("V")


@dataclass(frozen=True, slots=True)
class _Inbound:
    """What the inbound part of a service's snapshot was built from, and the part."""

    service: Service
    policy: ServicePolicy
    mode: Mode
    blocked: tuple[WorkloadId, ...]
    resources: tuple[Resource, ...]

    def fits(self, service: Service, policy: ServicePolicy, mode: Mode, blocked: tuple[WorkloadId, ...]) -> bool:
        """Whether it would be built the same. A list is compared as an object: comparing it costs what building it costs."""
        same = self.policy is policy or (not policy.rules and self.policy == policy)
        return same and self.mode is mode and self.blocked == blocked and self.service == service


@dataclass(slots=True)
class _Outbound:
    """What the outbound part of a snapshot was built from, and the part, by type; ``needs`` is all that it refers to.

    ``meshed`` are the ports whose endpoints belong to it, and ``endpoints`` those that they had in a topology. Others are held
    weakly, so that what is kept for a sidecar keeps no mesh of the past.
    """

    shape: outbound.Shape
    resources: Grouped
    needs: frozenset[tuple[str, str]]
    meshed: tuple[tuple[ServiceName, Port], ...]
    endpoints: tuple[ref[Topology], ByName] = field(default_factory=lambda: (ref(Topology()), ByName()))


@dataclass(frozen=True, slots=True)
class _Frame:
    """All of a workload's snapshot but the endpoints, and what it was built from."""

    reach: ref[Reach]
    service: Service
    outbound: _Outbound
    resources: Grouped


class Compiler:
    """Compiles snapshots of one trust domain, remembering the bytes of what several of them hold."""

    def __init__(self, trust: tls.Trust) -> None:
        self._allow_lists = AllowListBuilder(trust.trust_domain)
        self._shared = Shared()
        self._faces = Faces()
        self._reach = Reach(Policy(), Topology())
        self._parts: dict[tuple[Hashable, ...], tuple[object, tuple[Resource, ...]]] = {}
        self._outbound_parts: dict[ServiceName | None, _Outbound] = {}
        self._believe(trust)

    def _believe(self, trust: tls.Trust) -> None:
        """Have these roots, and nothing that was built with others."""
        self.trust = trust
        self._bundle = trust.fingerprint
        self._peers = tls.PeersSecretBuilder(trust)
        self._secrets = (tls.bundle_secret(trust), tls.roots_secret(trust))
        self._inbound_parts: dict[ServiceName, _Inbound] = {}
        self._frames: dict[WorkloadId, _Frame] = {}

    def trusting(self, bundle_pem: bytes) -> Compiler:
        """One that compiles with other roots (PEM); what does not hold any is kept from this one."""
        made = copy(self)
        made._believe(replace(self.trust, bundle_pem=bundle_pem))  # noqa: SLF001  # of its own copy
        return made

    def compile_snapshot(self, policy: Policy, topology: Topology, workload: WorkloadId) -> Snapshot | None:
        """The snapshot of a workload's sidecars; ``None`` when the topology does not know the workload."""
        source = topology.by_workload.get(workload)
        if source is None:
            return None
        faced, reach = self._faces.of(topology), self._reach
        if reach.policy is not policy or reach.topology is not faced:
            reach = self._reach = Reach(policy, faced, reach)
        # With explicit capture its own sidecar binds the addresses at which it stands.
        own = faced.services[source.name] if source.capture == "redirect" else source
        frame = self._frames.get(workload)
        if frame is None or frame.reach() is not reach or frame.service != own:
            frame = _keep(self._frames, workload, self._frame(reach, own))
        resources = {**frame.resources, types.ENDPOINT: self._endpoints(frame.outbound, topology)}
        return Snapshot(resources, policy.revision, self._bundle)

    def _frame(self, reach: Reach, service: Service) -> _Frame:
        outward = self._outbound(reach, service)
        inward = self._inbound(reach, service)
        wanted = {need for resource in inward for need in resource.needs} | outward.needs
        secrets = [secret for secret in self._secrets if (types.SECRET, secret.name) in wanted]
        resources = {}
        for type_url, own in _grouped([*inward, *secrets]).items():
            out = outward.resources[type_url]
            # Many sidecars have the very same outbound part, and then the same object.
            resources[type_url] = ByName({**own, **out}) if own and out else own or out
        return _Frame(ref(reach), service, outward, resources)

    def _part(self, slot: tuple[Hashable, ...], key: object, build: Callable[[], Iterable[Resource]]) -> tuple[Resource, ...]:
        """What was built for a slot, if it was built from an equal key."""
        kept = self._parts.get(slot)
        if kept is not None and kept[0] == key:
            return kept[1]
        return _keep(self._parts, slot, (key, tuple(build())))[1]

    def _inbound(self, reach: Reach, service: Service) -> tuple[Resource, ...]:
        policy, mode = reach.policy.of(service.name), reach.policy.mode(service.name)
        blocked = tuple(workload for workload in reach.quarantined if workload != service.workload)
        kept = self._inbound_parts.get(service.name)
        if kept is None or not kept.fits(service, policy, mode, blocked):
            built = _Inbound(service, policy, mode, blocked, tuple(self._build_inbound(service, policy, mode, blocked)))
            kept = _keep(self._inbound_parts, service.name, built)
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

    def _outbound(self, reach: Reach, source: Service) -> _Outbound:
        mode = reach.policy.mode(source.name)
        reason = Reason.QUARANTINE if mode is Mode.QUARANTINE else Reason.EGRESS
        own = reach.policy.of(source.name)
        deny_id = str(DenyId(source.name, own.egress_revision, reason))
        unknown = {Mode.LEARN: "", Mode.AUDIT: f"would-{deny_id}"}.get(mode, deny_id)
        upstreams = reach.upstreams(source, deny_id)
        # Where everything passes there is no denial to name: whoever is told that is told the same.
        nobodys = bool(upstreams) and upstreams is reach.everything
        closes = mode in {Mode.ENFORCE, Mode.QUARANTINE}
        shape = outbound.Shape(
            source.capture, source.upstream_listeners, upstreams, "" if nobodys else deny_id, unknown, reach.silent_ports,
            str(mode) if closes else "", own.egress_revoked if closes else {},
        )  # fmt: skip
        slot = None if nobodys else source.name
        kept = self._outbound_parts.get(slot)
        if kept is None or kept.shape != shape:
            kept = _keep(self._outbound_parts, slot, self._build_outbound(shape))
        return kept

    def _build_outbound(self, shape: outbound.Shape) -> _Outbound:
        found = [*outbound.resources(shape, self._shared), *self._part(("edges of the mesh",), None, clusters.edges)]
        meshed: dict[tuple[ServiceName, Port], None] = {}
        for upstream in shape.upstreams:
            if upstream.allowed:
                found += self._clusters(upstream)
                if upstream.service.meshed:
                    meshed[upstream.service.name, upstream.port] = None
        needs = frozenset(need for resource in found for need in resource.needs)
        return _Outbound(shape, _grouped(found), needs, tuple(meshed))

    def _clusters(self, upstream: Upstream) -> tuple[Resource, ...]:
        service, port = upstream.service, upstream.port

        def build() -> Iterator[Resource]:
            if not service.meshed:
                yield clusters.unguarded(service, port)
                return
            yield clusters.mesh(service, port, self.trust)
            if handling(port.protocol) is Handling.INSPECT:
                yield clusters.mesh(service, port, self.trust, inspected_http=True)

        return self._part(("upstream", service.name, port.number), service, build)

    def _endpoints(self, outward: _Outbound, topology: Topology) -> ByName:
        """The endpoints of what a source reaches; the same object as long as they are the same."""
        seen_in, kept = outward.endpoints
        if seen_in() is topology:
            return kept
        resources = (self._endpoint(topology.services[name], port) for name, port in outward.meshed)
        found = ByName((resource.name, resource) for resource in resources)
        outward.endpoints = ref(topology), kept if found == kept else found
        return outward.endpoints[1]

    def _endpoint(self, service: Service, port: Port) -> Resource:
        key = (port, service.endpoints)
        return self._part(("endpoints", service.name, port.number), key, lambda: [clusters.mesh_endpoints(service, port)])[0]


def _grouped(resources: Iterable[Resource]) -> Grouped:
    """Resources by type, in the order of types."""
    return Snapshot.of(resources).resources


def _keep(kept: dict[K, V], key: K, value: V) -> V:
    """Keep one more; what is kept has an end."""
    if len(kept) >= PARTS_KEPT:
        kept.clear()
    kept[key] = value
    return value
