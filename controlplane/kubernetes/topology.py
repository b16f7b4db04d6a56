"""From what a cluster holds to what the mesh is: services with their ports, addresses and replicas. Pure; watches nothing.

A service of the mesh is an identity, so it has the name of its pods' service account; the Kubernetes services that lead to
these pods are its addresses. Where that does not fit (an account for different sets of pods, a service that leads to several
accounts or to no pods), a Kubernetes service stands for itself, under its own name and without a sidecar before it: its
callers' sidecars decide. Nothing is ever led to another pod than Kubernetes would lead it to.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from controlplane.identity.spiffe import SpiffeError, WorkloadId
from controlplane.kubernetes import objects
from controlplane.kubernetes.injection.rules import ENABLED, INJECTION_LABEL, NEVER
from controlplane.kubernetes.names import APPROVALS_LABEL, MODE_LABEL
from controlplane.kubernetes.pods import (
    account_of,
    addresses_of,
    containers_of,
    images_of,
    is_finished,
    is_injected,
    is_live,
    owner_of,
    wants_sidecar,
    why_unmeshed,
)
from controlplane.kubernetes.ports import protocol_of
from controlplane.topology.model import Guard, Kind, Port, Service, ServiceName, Topology, canonical_address
from controlplane.topology.protocol import is_datastore
from controlplane.topology.unmeshed import Gaps, Unmeshed

MAX_PORTS = 1_000


@dataclass(frozen=True, slots=True)
class Found:
    """A cluster as the mesh sees it.

    ``gaps`` are pods without a sidecar that they should have, and where service accounts keep services from being told apart.
    ``modes`` are what labels of namespaces ask for, unchecked, and ``injected`` the namespaces that have sidecars, or want them.
    ``approvals`` are the namespaces that want what is approved written as objects. ``images`` are digests by workload and a pod's
    name or address.
    """

    topology: Topology = field(default_factory=Topology)
    gaps: Gaps = field(default_factory=Gaps)
    modes: Mapping[str, str] = field(default_factory=dict)
    injected: frozenset[str] = frozenset()
    approvals: frozenset[str] = frozenset()
    images: Mapping[tuple[str, str], str] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Front:
    """A Kubernetes service with what is behind it: pods by key, ready addresses, and its ports where the pods listen."""

    service: objects.Service
    pods: frozenset[str]
    ready_pods: frozenset[str]
    ready: tuple[str, ...]
    ports: tuple[Port, ...]

    @property
    def name(self) -> ServiceName:
        return ServiceName(self.service.metadata.namespace, self.service.metadata.name)

    @property
    def addresses(self) -> tuple[str, ...]:
        """What clients dial: its cluster addresses, or the pods' own where it has none."""
        given = (*(self.service.spec.cluster_ips or ()), *(self.service.spec.external_ips or ()))
        return _canonical(address for address in given if address not in {"", "None"}) or self.ready


def found_in(held: objects.Objects, without_sidecars: Collection[str] = NEVER) -> Found:
    """Read a cluster's objects. The same objects give the same result, in the same order.

    In namespaces ``without_sidecars`` nothing is injected, whatever their labels say.
    """
    live = {key: pod for key, pod in sorted(held.pods.items()) if is_live(pod)}
    by_account: defaultdict[str, dict[str, objects.Pod]] = defaultdict(dict)
    for key, pod in live.items():
        by_account[account_of(pod)][key] = pod
    fronts_of, alone = _assigned(_fronts(held), live)
    services: dict[ServiceName, Service] = {}
    notes: list[str] = []
    for account, pods in sorted(by_account.items()):
        try:
            name = ServiceName(*WorkloadId(*account.split("/", 1)))
        except SpiffeError as error:
            notes.append(f"{account}: {error}")
            continue
        if account not in held.accounts:
            notes.append(f"{account}: the service account is gone, so its pods have no identity")
            continue
        fronts, apart = _together(name, fronts_of.get(account, []))
        if apart:
            told = ", ".join(sorted(front.name.name for front in (*fronts, *apart)))
            notes.append(f"{account}: one service account for what should be told apart ({told}); give each an account of its own")
        alone += apart
        services[name] = _service(name, pods, fronts)
    for front in alone:
        if front.name in services:
            notes.append(f"{front.name}: a service account of this name has other pods, so this service is not known")
        else:
            services[front.name] = Service(
                front.name, _kind([front], front.ports), front.ports, front.addresses, (), guard=Guard.NONE
            )
    spaces = held.namespaces.items()
    wanted = _enabled(held, INJECTION_LABEL) - frozenset(without_sidecars)
    return Found(
        topology=Topology(services),
        gaps=Gaps(tuple(_unmeshed(held, wanted, without_sidecars)), tuple(notes)),
        modes={key.removeprefix("/"): mode for key, space in spaces if (mode := _label(space, MODE_LABEL))},
        approvals=_enabled(held, APPROVALS_LABEL),
        images=dict(_images(live.values())),
        injected=wanted | frozenset(pod.metadata.namespace for pod in held.pods.values() if is_injected(pod)),
    )


def _images(pods: Iterable[objects.Pod]) -> Iterator[tuple[tuple[str, str], str]]:
    """What pods with one container run, by the names under which calls of theirs are known."""
    for pod in pods:
        if len(found := images_of(pod)) == 1:
            for place in (pod.metadata.name, *addresses_of(pod)):
                yield (account_of(pod), place), found[0][1]


def _enabled(held: objects.Objects, label: str) -> frozenset[str]:
    """The namespaces whose label says so."""
    return frozenset(key.removeprefix("/") for key, space in held.namespaces.items() if _label(space, label) == ENABLED)


def _label(seen: objects.Object, name: str) -> str:
    return (seen.metadata.labels or {}).get(name, "")


def _unmeshed(held: objects.Objects, wanted: frozenset[str], without: Collection[str]) -> Iterator[Unmeshed]:
    """Pods without a sidecar that should have one."""
    for _, pod in sorted(held.pods.items()):
        if pod.metadata.namespace not in without and wants_sidecar(pod, wanted) and not is_finished(pod) and not is_injected(pod):
            yield Unmeshed(pod.metadata.namespace, pod.metadata.name, owner_of(pod), why_unmeshed(pod), account_of(pod))


def _fronts(held: objects.Objects) -> Iterator[_Front]:
    """The cluster's services with their endpoints."""
    slices: defaultdict[str, list[objects.EndpointSlice]] = defaultdict(list)
    for _, found in sorted(held.slices.items()):
        slices[found.service].append(found)
    for key, service in sorted(held.services.items()):
        if service.spec.type == "ExternalName":
            continue  # a DNS name for somebody else: who dials it dials that
        own = slices[key]
        endpoints = [endpoint for found in own for endpoint in found.endpoints or () if endpoint.addresses]
        ready = [endpoint for endpoint in endpoints if endpoint.conditions.ready is not False]
        yield _Front(
            service, _pods(service, endpoints), _pods(service, ready), _canonical(endpoint.addresses[0] for endpoint in ready),
            tuple(_ports(service, own)),
        )  # fmt: skip


def _pods(service: objects.Service, endpoints: Iterable[objects.Endpoint]) -> frozenset[str]:
    targets = (endpoint.target_ref for endpoint in endpoints)
    return frozenset(f"{service.metadata.namespace}/{target.name}" for target in targets if target and target.kind == "Pod")


def _ports(service: objects.Service, slices: Sequence[objects.EndpointSlice]) -> Iterator[Port]:
    """A service's TCP ports and, from its endpoints, where they lead."""
    real = {(port.name or ""): port.port for found in slices for port in found.ports or () if port.port}
    for port in (service.spec.ports or ())[:MAX_PORTS]:
        if port.protocol != "TCP":
            continue
        declared = port.target_port if isinstance(port.target_port, int) and port.target_port else port.port
        target = real.get(port.name or "") or declared
        yield Port(port.port, protocol_of(port.port, target, port.name, port.app_protocol), target)


def _assigned(fronts: Iterable[_Front], live: Mapping[str, objects.Pod]) -> tuple[Mapping[str, list[_Front]], list[_Front]]:
    """Services by the account of all of their pods, and those that have none or several."""
    of_account: defaultdict[str, list[_Front]] = defaultdict(list)
    alone: list[_Front] = []
    for front in fronts:
        accounts = {account_of(live[key]) for key in front.pods if key in live}
        if len(accounts) == 1:
            of_account[accounts.pop()].append(front)
        else:
            alone.append(front)
    return of_account, alone


def _together(name: ServiceName, fronts: Sequence[_Front]) -> tuple[list[_Front], list[_Front]]:
    """The services of an account that are one service of the mesh, and those that cannot be told apart from them.

    One are those that lead to the same pods and each port number to the same port. Where an account has different sets of pods,
    the service of its own name counts, or none.
    """
    same = len({front.pods for front in fronts}) == 1
    main = next((front for front in fronts if same or front.name == name), None)
    together: list[_Front] = []
    apart: list[_Front] = []
    ports: dict[int, Port] = {}
    for front in sorted(fronts, key=lambda front: front.name != name):
        fits = main is not None and front.pods == main.pods
        if fits and all(ports.get(port.number, port) == port for port in front.ports):
            together.append(front)
            ports |= {port.number: port for port in front.ports}
        else:
            apart.append(front)
    return together, apart


def _service(name: ServiceName, pods: Mapping[str, objects.Pod], fronts: Sequence[_Front]) -> Service:
    """An account's pods as a service of the mesh."""
    ports = {port.number: port for front in fronts for port in front.ports}
    targets = {port.target for port in ports.values()}
    for pod in pods.values():
        for container in containers_of(pod):
            for found in container.ports or ():
                number = found.container_port
                if found.protocol == "TCP" and number not in ports and number not in targets and len(ports) < MAX_PORTS:
                    ports[number] = Port(number, protocol_of(number, number, found.name, None), number)
    if fronts:
        endpoints = _canonical(address for front in fronts for address in front.ready)
    else:
        endpoints = _canonical(address for pod in pods.values() for address in addresses_of(pod))
    return Service(
        name=name,
        kind=_kind(fronts, ports.values()),
        ports=tuple(ports[number] for number in sorted(ports)),
        addresses=_canonical(address for front in fronts for address in front.addresses),
        endpoints=endpoints,
        guard=_guard({key for front in fronts for key in front.ready_pods}, pods),
    )


def _guard(ready: Iterable[str], pods: Mapping[str, objects.Pod]) -> Guard:
    """Those that take traffic decide; where a sidecar is about to be, its identity has to be known already."""
    injected = {key for key, pod in pods.items() if is_injected(pod)}
    if not injected:
        return Guard.NONE
    return Guard.ALL if injected.issuperset(set(ready) or pods) else Guard.SOME


def _kind(fronts: Sequence[_Front], ports: Iterable[Port]) -> Kind:
    if any(front.service.spec.type == "LoadBalancer" for front in fronts):
        return Kind.GATEWAY
    return Kind.DATASTORE if any(is_datastore(port.protocol) for port in ports) else Kind.SERVICE


def _canonical(addresses: Iterable[str]) -> tuple[str, ...]:
    """Addresses in the one spelling that sidecars report, each once, in order."""
    return tuple(sorted({found for address in addresses if (found := canonical_address(address)) is not None}))
