"""`policy.may_reach` for a whole mesh: who may call what, sorted out by source once per policy. Never builds a message."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import egress_mode, follows_source, may_reach
from controlplane.policy.rules import HttpMatch, Mode, Policy
from controlplane.topology.model import Service, ServiceName, Topology
from controlplane.xds.lists import lists_of
from controlplane.xds.upstream import Upstream, silent_ports

_NOTHING: frozenset[int] = frozenset()
_OPEN = frozenset({Mode.LEARN, Mode.AUDIT})


@dataclass(frozen=True, slots=True)
class _Ways:
    """A service's ports as upstreams in which nothing is the source's own: all of them open, or all refused."""

    service: Service
    open: tuple[Upstream, ...]
    refused: tuple[Upstream, ...]


class Reach:
    """What each source may reach under one policy in one topology. A look-up costs what the source may reach, not the mesh."""

    def __init__(self, policy: Policy, topology: Topology, before: Reach | None = None) -> None:
        """``before`` is any other, of which what is the same here is taken over."""
        self.policy = policy
        self.topology = topology
        self.silent_ports = silent_ports(topology.services.values())
        self.quarantined = tuple(
            sorted(w for name, mode in policy.modes.items() if mode is Mode.QUARANTINE and (w := name.workload) is not None)
        )
        kept: Mapping[ServiceName, _Ways] = {} if before is None else before.ways
        self.ways: Mapping[ServiceName, _Ways] = {
            name: _ways(service, kept.get(name)) for name, service in topology.services.items()
        }
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
        #: Hosts outside that have no mode follow their caller's.
        self._following = frozenset(name for name in topology.services if follows_source(policy, name))
        modes = {name: policy.mode(name) for name in topology.services if name not in self._following}
        #: Services of which every source that is not quarantined reaches all, and nothing of that is reported at the source.
        self._passing = frozenset(
            name for name, mode in modes.items() if mode is Mode.LEARN or (mode is Mode.AUDIT and topology.services[name].meshed)
        )
        #: Services that somebody may reach without a rule.
        self._open = [*self._following, *(name for name, mode in modes.items() if mode is not Mode.ENFORCE)]

    def upstreams(self, source: Service, deny_id: str) -> tuple[Upstream, ...]:
        """Ports that the source may reach, in the topology's order; those that it may not only where they need an answer.

        That is where they would pass as unknown hosts, and where the application has a listener for them.
        """
        mode = self.policy.mode(source.name)
        redirects, lenient = source.capture == "redirect", mode in _OPEN
        if redirects and mode is Mode.LEARN and self.everything:
            return self.everything
        approved: dict[ServiceName, frozenset[int]] = {}
        for name, number in self._approved.get(source.workload, ()):
            approved[name] = approved.get(name, _NOTHING) | {number}
        if not redirects:
            wanted = self._sorted(listener.service for listener in source.upstream_listeners)
        elif lenient:
            wanted = list(self.topology.services)
        else:
            wanted = self._sorted((*self._open, *approved))
        answered = lenient or not redirects
        passing = () if mode is Mode.QUARANTINE else self._passing
        found: list[Upstream] = []
        for name in wanted:
            if name in passing or (mode is Mode.LEARN and name in self._following):
                found += self.ways[name].open
            elif name in approved or self._mode(source, name) is not Mode.ENFORCE:
                found += self._toward(source, name, approved.get(name, _NOTHING), deny_id, answered=answered)
            elif answered:
                found += self.ways[name].refused
        return tuple(found)

    @cached_property
    def everything(self) -> tuple[Upstream, ...]:
        """What all that only learn may reach, where that is all there is; else empty."""
        if len(self._passing) + len(self._following) < len(self.topology.services):
            return ()
        return tuple(upstream for ways in self.ways.values() for upstream in ways.open)

    def _sorted(self, names: Iterable[ServiceName]) -> list[ServiceName]:
        return sorted(set(names) & self._position.keys(), key=self._position.__getitem__)

    def _toward(
        self, source: Service, name: ServiceName, ports: frozenset[int], deny_id: str, *, answered: bool
    ) -> Iterator[Upstream]:
        """The ports of a service of which a source may reach something of its own; ``ports`` are those that rules approve."""
        service = self.topology.services[name]
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


def _ways(service: Service, kept: _Ways | None) -> _Ways:
    """The same object as before for the same service, so that comparing what was built of it costs nothing."""
    if kept is not None and kept.service is service:
        return kept
    opened, refused = ([Upstream(service, port, allowed) for port in service.ports] for allowed in (True, False))
    return _Ways(service, tuple(opened), tuple(refused))
