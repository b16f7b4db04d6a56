"""`policy.may_reach` for a whole mesh: who may call what, sorted out by source once per policy. Never builds a message."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import egress_mode, follows_source, may_reach
from controlplane.policy.rules import HttpMatch, Mode, Policy
from controlplane.topology.model import Service, ServiceName, Topology
from controlplane.xds.lists import AllowList, lists_of
from controlplane.xds.upstream import Upstream, silent_ports

_NOTHING: frozenset[int] = frozenset()
_OPEN = frozenset({Mode.LEARN, Mode.AUDIT})


@dataclass(frozen=True, slots=True)
class _Ways:
    """A service's ports as upstreams in which nothing is the source's own: all of them open, or all refused."""

    service: Service
    open: tuple[Upstream, ...]
    refused: tuple[Upstream, ...]


@dataclass(frozen=True, slots=True)
class _Modes:
    """What the modes of a policy say of the services of a topology."""

    quarantined: tuple[WorkloadId, ...]
    following: frozenset[ServiceName]  # hosts outside that have no mode: they follow their caller's
    passing: frozenset[ServiceName]  # every source that is not quarantined reaches all, and nothing of that is reported there
    open: tuple[ServiceName, ...]  # somebody may reach them without a rule


class Reach:
    """What each source may reach under one policy in one topology. A look-up costs what the source may reach, not the mesh."""

    def __init__(self, policy: Policy, topology: Topology, before: Reach | None = None) -> None:
        """``before`` is any other, of which what is the same here is taken over: an approval costs the services that it changes."""
        self.policy = policy
        self.topology = topology
        same = before if before is not None and before.topology is topology else None
        places = {name: at for at, name in enumerate(topology.services)} if same is None else same.position
        self.position: Mapping[ServiceName, int] = places
        self.silent_ports: tuple[int, ...] = silent_ports(topology.services.values()) if same is None else same.silent_ports
        self.ways: Mapping[ServiceName, _Ways] = _all_ways(topology, before) if same is None else same.ways
        likewise = same is not None and (same.policy.modes, same.policy.default_mode) == (policy.modes, policy.default_mode)
        self.modes: _Modes = same.modes if same is not None and likewise else _modes(policy, topology)
        self.quarantined = self.modes.quarantined
        #: By source, what rules let it call: a service with ports.
        self.approved = _approved(policy, before)
        self._outside: dict[ServiceName, Mapping[int, AllowList]] = {}

    def upstreams(self, source: Service, deny_id: str) -> tuple[Upstream, ...]:
        """Ports that the source may reach, in the topology's order; those that it may not only where they need an answer.

        That is where they would pass as unknown hosts, and where the application has a listener for them.
        """
        mode = self.policy.mode(source.name)
        redirects, lenient = source.capture == "redirect", mode in _OPEN
        if redirects and mode is Mode.LEARN and self.everything:
            return self.everything
        approved = self.approved.get(source.workload, {})
        if not redirects:
            wanted = self._sorted(listener.service for listener in source.upstream_listeners)
        elif lenient:
            wanted = list(self.topology.services)
        else:
            wanted = self._sorted((*self.modes.open, *approved))
        answered = lenient or not redirects
        passing = () if mode is Mode.QUARANTINE else self.modes.passing
        found: list[Upstream] = []
        for name in wanted:
            if name in passing or (mode is Mode.LEARN and name in self.modes.following):
                found += self.ways[name].open
            elif name in approved or self._mode(source, name) is not Mode.ENFORCE:
                found += self._toward(source, name, approved.get(name, _NOTHING), deny_id, answered=answered)
            elif answered:
                found += self.ways[name].refused
        return tuple(found)

    @cached_property
    def everything(self) -> tuple[Upstream, ...]:
        """What all that only learn may reach, where that is all there is; else empty."""
        if len(self.modes.passing) + len(self.modes.following) < len(self.topology.services):
            return ()
        return tuple(upstream for ways in self.ways.values() for upstream in ways.open)

    def _sorted(self, names: Iterable[ServiceName]) -> list[ServiceName]:
        return sorted(set(names) & self.position.keys(), key=self.position.__getitem__)

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
        """The only requests that rules let a source send outside the mesh; empty where they do not say, or say anything.

        Where no sidecar stands, the source's decides on requests.
        """
        if self.topology.services[destination].meshed:
            return ()
        lists = self._outside.get(destination)
        if lists is None:
            lists = self._outside[destination] = lists_of(self.policy.of(destination).rules)
        return lists[port].peers.get(source.workload, ()) if port in lists else ()

    def _mode(self, source: Service, destination: ServiceName) -> Mode:
        return egress_mode(self.policy, source.workload, destination)


def _ways(service: Service, kept: _Ways | None) -> _Ways:
    """The same object as before for the same service, so that comparing what was built of it costs nothing."""
    if kept is not None and kept.service is service:
        return kept
    opened, refused = ([Upstream(service, port, allowed) for port in service.ports] for allowed in (True, False))
    return _Ways(service, tuple(opened), tuple(refused))


def _all_ways(topology: Topology, before: Reach | None) -> Mapping[ServiceName, _Ways]:
    kept: Mapping[ServiceName, _Ways] = {} if before is None else before.ways
    return {name: _ways(service, kept.get(name)) for name, service in topology.services.items()}


def _modes(policy: Policy, topology: Topology) -> _Modes:
    following = frozenset(name for name in topology.services if follows_source(policy, name))
    modes = {name: policy.mode(name) for name in topology.services if name not in following}
    quarantined = (name.workload for name, mode in policy.modes.items() if mode is Mode.QUARANTINE)
    return _Modes(
        tuple(sorted(workload for workload in quarantined if workload is not None)),
        following,
        frozenset(
            name for name, mode in modes.items() if mode is Mode.LEARN or (mode is Mode.AUDIT and topology.services[name].meshed)
        ),
        (*following, *(name for name, mode in modes.items() if mode is not Mode.ENFORCE)),
    )


def _approved(policy: Policy, before: Reach | None) -> Mapping[WorkloadId, Mapping[ServiceName, frozenset[int]]]:
    """What rules let each source call. Of services whose rules are the very ones of before, nothing is looked at."""
    old, known = (Policy(), {}) if before is None else (before.policy, before.approved)
    fresh: dict[WorkloadId, dict[ServiceName, frozenset[int]]] = {}
    for name in {*old.services, *policy.services}:
        if old.services.get(name) is policy.services.get(name):
            continue
        ports: dict[WorkloadId, set[int]] = {source: set() for source, _ in _named(old, name)}
        for source, port in _named(policy, name):
            ports.setdefault(source, set()).add(port)
        for source, listed in ports.items():
            mine = fresh[source] if source in fresh else fresh.setdefault(source, dict(known.get(source, {})))
            mine.pop(name, None)
            if listed:
                mine[name] = frozenset(listed)
    return {**known, **fresh}


def _named(policy: Policy, name: ServiceName) -> Iterator[tuple[WorkloadId, int]]:
    """Sources with an identity that rules of a service name, and the ports."""
    listed = policy.services.get(name)
    for rule in () if listed is None else listed.rules:
        if isinstance(rule.source, WorkloadId):
            yield rule.source, rule.port
