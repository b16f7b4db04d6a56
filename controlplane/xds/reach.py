"""`policy.may_reach` for a whole mesh: who may call what, sorted out by source once per policy. Never builds a message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import egress_mode, may_reach
from controlplane.policy.rules import EXTERNAL_NAMESPACE, HttpMatch, Mode, Policy
from controlplane.topology.model import Service, ServiceName, Topology
from controlplane.xds.lists import lists_of
from controlplane.xds.upstream import Upstream, silent_ports

_NOTHING: frozenset[int] = frozenset()
_OPEN = frozenset({Mode.LEARN, Mode.AUDIT})


class Reach:
    """What each source may reach under one policy in one topology. A look-up costs what the source may reach, not the mesh."""

    def __init__(self, policy: Policy, topology: Topology) -> None:
        self.policy = policy
        self.topology = topology
        self.silent_ports = silent_ports(topology.services.values())
        self.quarantined = tuple(
            sorted(w for name, mode in policy.modes.items() if mode is Mode.QUARANTINE and (w := name.workload) is not None)
        )
        self._position = {name: position for position, name in enumerate(topology.services)}
        self._approved: defaultdict[WorkloadId, list[tuple[ServiceName, int]]] = defaultdict(list)
        for name, listed in policy.services.items():
            ends = {port: (name, port) for port in {rule.port for rule in listed.rules}}
            for rule in listed.rules:
                if isinstance(rule.source, WorkloadId):
                    self._approved[rule.source].append(ends[rule.port])
        #: Where no sidecar stands, the source's decides on requests: those that rules name.
        self._outside = {
            name: lists_of(listed.rules)
            for name, listed in policy.services.items()
            if (service := topology.services.get(name)) is not None and not service.meshed
        }
        #: Services that somebody may reach without a rule: hosts outside that have no mode follow their caller's.
        self._open = [
            name
            for name in topology.services
            if policy.mode(name) is not Mode.ENFORCE or (name.namespace == EXTERNAL_NAMESPACE and name not in policy.modes)
        ]

    def upstreams(self, source: Service, deny_id: str) -> Iterator[Upstream]:
        """Ports that the source may reach, in the topology's order; those that it may not only where they need an answer.

        That is where they would pass as unknown hosts, and where the application has a listener for them.
        """
        approved: dict[ServiceName, frozenset[int]] = {}
        for name, number in self._approved.get(source.workload, ()):
            approved[name] = approved.get(name, _NOTHING) | {number}
        lenient = self.policy.mode(source.name) in _OPEN
        if source.capture != "redirect":
            wanted = {listener.service for listener in source.upstream_listeners}
        elif lenient:
            wanted = set(self.topology.services)
        else:
            wanted = {*self._open, *approved}
        answered = lenient or source.capture != "redirect"
        for name in sorted(wanted & self._position.keys(), key=self._position.__getitem__):
            service, ports = self.topology.services[name], approved.get(name, _NOTHING)
            reachable = may_reach(self.policy, source.workload, name, ports)
            reports = reachable is None and not service.meshed and self._mode(source, name) is Mode.AUDIT
            for port in service.ports:
                allowed = reachable is None or port.number in reachable
                if allowed or answered:
                    reported = f"would-{deny_id}" if reports and port.number not in ports else ""
                    http = self._requests(source, name, port.number) if reports or reachable is not None else ()
                    unlisted = (f"would-{deny_id}" if reports else deny_id) if http else ""
                    yield Upstream(service, port, allowed, reported, http, unlisted)

    def _requests(self, source: Service, destination: ServiceName, port: int) -> tuple[HttpMatch, ...]:
        """The only requests that rules let a source send outside the mesh; empty where they do not say, or say anything."""
        listed = self._outside.get(destination, {}).get(port)
        return () if listed is None else listed.peers.get(source.workload, ())

    def _mode(self, source: Service, destination: ServiceName) -> Mode:
        return egress_mode(self.policy, source.workload, destination)
