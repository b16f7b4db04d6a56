"""What is doubtful in a document beside a topology: names that do not exist, ports that speak something else. Pure."""

from __future__ import annotations

from collections.abc import Iterator

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.findings import Finding
from controlplane.policy.lint import catalogue
from controlplane.policy.lint.document import plaintext_peers
from controlplane.policy.rules import EXTERNAL_NAMESPACE, HttpMatch
from controlplane.policy.traffic_policy import TrafficPolicy, TrafficRule
from controlplane.topology.model import Service, ServiceName, Topology
from controlplane.topology.protocol import Handling, handling


def check_surroundings(document: TrafficPolicy, topology: Topology | None) -> Iterator[Finding]:
    """All findings about one document; without a topology those that need none."""
    service = topology.services.get(document.service) if topology is not None else None
    external = document.service.namespace == EXTERNAL_NAMESPACE
    if topology is not None and service is None and not external:
        message, remedy = f"{document.service} is not in the topology", _near(document.service, topology)
        yield catalogue.UNKNOWN_SERVICE.found(document.place, message, key="metadata.name", remedy=remedy)
    meshed = service.meshed if service is not None else not external
    for index, rule in enumerate(document.rules):
        key = f"spec.rules[{index}]"
        if meshed:
            for number, peer in plaintext_peers(rule):
                message = f"peers from {peer.source} prove no identity to {document.service}"
                remedy = "name workloads, or say in the lease why it must be plaintext"
                yield catalogue.PLAINTEXT.found(peer.place, message, key=f"{key}.from[{number}]", remedy=remedy)
        if topology is not None:
            yield from _workloads(rule, key, topology)
        yield from _ports(rule, key, service)


def _near(name: ServiceName, topology: Topology) -> str:
    same = sorted(str(other) for other in topology.services if other.name == name.name)
    return f"did you mean {same[0]}?" if same else "check the name, or add the service to the topology"


def _workloads(rule: TrafficRule, key: str, topology: Topology) -> Iterator[Finding]:
    for index, peer in enumerate(rule.peers):
        source = peer.source
        if isinstance(source, WorkloadId) and source not in topology.by_workload:
            remedy = _near(ServiceName(source.namespace, source.account), topology)
            message = f"{source} is not in the topology"
            yield catalogue.UNKNOWN_WORKLOAD.found(peer.place, message, key=f"{key}.from[{index}].workload", remedy=remedy)


def _ports(rule: TrafficRule, key: str, service: Service | None) -> Iterator[Finding]:
    asks = any(request.match != HttpMatch() for request in rule.http)
    for port in rule.ports:
        declared = service.port(port) if service is not None else None
        protocol = declared.protocol if declared is not None else rule.protocol
        if service is not None and service.ports and declared is None:
            known = ", ".join(str(other.number) for other in service.ports)
            message = f"{service.name} does not declare port {port}"
            yield catalogue.UNKNOWN_PORT.found(rule.at("ports"), message, key=f"{key}.ports", remedy=f"it declares {known}")
        if declared is not None and rule.protocol and not _same(rule.protocol, declared.protocol):
            message = f"port {port} speaks {declared.protocol}, not {rule.protocol}"
            yield catalogue.PROTOCOL_MISMATCH.found(rule.at("protocol"), message, key=f"{key}.protocol")
        if protocol and asks and handling(protocol) is Handling.OPAQUE:
            message = f"port {port} speaks {protocol}, which has no methods and paths: the rule allows nothing there"
            remedy = "leave http out to allow the port"
            yield catalogue.NEVER_MATCHES.found(rule.at("http"), message, key=f"{key}.http", remedy=remedy)
        if protocol and not asks and handling(protocol) is Handling.HTTP:
            message = f"every method and path of port {port} is allowed"
            yield catalogue.WHOLE_PORT.found(rule.place, message, key=key, remedy="name methods and paths under http")


def _same(written: str, declared: str) -> bool:
    """As gRPC is HTTP/2, and what is not HTTP may be called tcp."""
    if declared in {written, "auto"}:
        return True
    kinds = handling(written), handling(declared)
    return kinds == (Handling.HTTP, Handling.HTTP) or (kinds == (Handling.OPAQUE, Handling.OPAQUE) and "tcp" in {written, declared})
