"""The map: learned and approved edges as one picture. Pure; decides nothing and never approves anything."""

from __future__ import annotations

import ipaddress
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.graph.cover import Approved
from controlplane.graph.learn import GraphEdge, edge_for
from controlplane.identity.spiffe import SpiffeError, WorkloadId, parse_workload
from controlplane.policy.evaluate import egress_mode
from controlplane.policy.rules import AddressSource, Mode, Policy, Rule
from controlplane.topology.model import ServiceName, Topology, parse_service_name


@dataclass(frozen=True, slots=True)
class ChartedEdge:
    """An edge as the map shows it. One that is only approved has a count of 0 and no times."""

    edge: GraphEdge
    approved: bool
    learned: bool
    mode: Mode


def chart(policy: Policy, learned: Iterable[GraphEdge], topology: Topology) -> list[ChartedEdge]:
    """Every edge that was seen or is approved, in a stable order."""
    approved = Approved(policy)
    found = [
        ChartedEdge(edge, approved.holds(edge), True, deciding_mode(policy, edge.source, edge.destination)) for edge in learned
    ]
    used: dict[tuple[str, int], set[str]] = {}
    for charted in found:
        used.setdefault((charted.edge.destination, charted.edge.port), set()).add(charted.edge.source)
    for name, listed in policy.services.items():
        for rule in listed.rules:
            if not _is_used(rule, used.get((str(name), rule.port), ())):
                protocol = protocol_of(topology, name, rule.port)
                edge = edge_for(name, rule, protocol)
                found.append(ChartedEdge(edge, True, False, deciding_mode(policy, edge.source, edge.destination)))
    return sorted(found, key=lambda c: (c.edge.source, c.edge.destination, c.edge.port, c.edge.protocol))


def _is_used(rule: Rule, sources: Iterable[str]) -> bool:
    if not isinstance(rule.source, AddressSource):
        return str(rule.source) in sources
    network = ipaddress.ip_network(rule.source.cidr)
    return any(source.startswith("ip:") and is_within(source[3:], network) for source in sources)


def is_within(address: str, network: ipaddress.IPv4Network | ipaddress.IPv6Network) -> bool:
    """Whether a text is an address of a network."""
    try:
        return ipaddress.ip_address(address) in network
    except ValueError:
        return False


def protocol_of(topology: Topology, name: ServiceName, port: int) -> str:
    """The declared protocol of a service's port; empty where none is."""
    service = topology.services.get(name)
    declared = service.port(port) if service else None
    return declared.protocol if declared else ""


def deciding_mode(policy: Policy, source: str, destination: str) -> Mode:
    """The mode that decides about an edge; a destination that is no service name has the default."""
    try:
        service = parse_service_name(destination)
    except ValueError:
        return policy.default_mode
    try:
        workload: WorkloadId = parse_workload(source)
    except SpiffeError:
        return policy.mode(service)
    return egress_mode(policy, workload, service)
