"""Turns what a sidecar observed into flows between named workloads and services. Pure; believes the reporter's identity only."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import lru_cache

from controlplane.flows.model import NEVER_PASSED_ON, EdgeKey, Flow, Verdict
from controlplane.identity.spiffe import SpiffeError, WorkloadId, parse_uri
from controlplane.policy.evaluate import DenyId, Reason
from controlplane.policy.rules import EXTERNAL_NAMESPACE, Mode, Policy
from controlplane.topology.model import ServiceName, Topology, is_ip_address

#: Anything else (a pattern, an address in brackets) names no host that could be approved.
_HOST = re.compile(r"[a-z0-9_]([a-z0-9._-]{0,251}[a-z0-9_])?\Z")


@dataclass(frozen=True, slots=True)
class Observed:
    """One observation as it came in, without its wire type. Times are Unix milliseconds."""

    inbound: bool
    verdict: Verdict
    port: int
    protocol: str
    count: int
    first_seen_ms: int
    last_seen_ms: int
    peer_id: str = ""
    peer_address: str = ""
    dialled_address: str = ""
    method: str = ""
    path: str = ""
    host: str = ""
    server_name: str = ""
    deny_id: str = ""
    reason: str = ""


def _no_image(_workload: str, _place: str) -> str:
    return ""


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What observations are read against: what exists, what is in force, and the time (Unix milliseconds).

    ``instance`` is the replica that reports; ``image_of`` says which image a workload runs at an instance or address, if known.
    """

    topology: Topology
    policy: Policy
    trust_domain: str
    now_ms: int
    instance: str = ""
    image_of: Callable[[str, str], str] = _no_image


def flows_of(observed: Observed, reporter: WorkloadId, given: Surroundings) -> Iterator[Flow]:
    """The flow, and for one that was only reported (would-deny) also the use of the edge that it is."""
    if observed.inbound:
        edge, learns = _inbound_edge(observed, reporter, given), True
    else:
        edge, learns = _outbound_edge(observed, reporter, given.topology)
    if observed.verdict is not Verdict.DENIED and learns:
        image = given.image_of(edge.source, observed.peer_address if observed.inbound else given.instance)
        yield _flow(observed, edge._replace(path=observed.path), Verdict.ALLOWED, reporter, "", given.now_ms, image)
    if observed.verdict is not Verdict.ALLOWED:
        deny_id = observed.deny_id or _unnamed_deny_id(observed, reporter, given.policy)
        yield _flow(observed, edge._replace(path=observed.path), observed.verdict, reporter, deny_id, given.now_ms)


def _flow(
    observed: Observed, edge: EdgeKey, verdict: Verdict, reporter: WorkloadId, deny_id: str, now_ms: int, image: str = ""
) -> Flow:
    """Times ahead of ours are another clock's error: nothing was seen in the future."""
    return Flow(
        edge=edge,
        verdict=verdict,
        reporter=str(reporter),
        direction="in" if observed.inbound else "out",
        count=observed.count,
        first_seen_ms=min(observed.first_seen_ms, now_ms),
        last_seen_ms=min(observed.last_seen_ms, now_ms),
        host=observed.host,
        server_name=observed.server_name,
        peer_address=observed.peer_address,
        deny_id=deny_id,
        reason=observed.reason,
        image=image,
    )


def _unnamed_deny_id(observed: Observed, reporter: WorkloadId, policy: Policy) -> str:
    """The name of a denial that no filter could name: it is that of the policy in force.

    In the TLS handshake a list of names refuses; on a connection from before a revocation the upstream is not there any more.
    What Envoy never passes on is no policy's doing in learn and audit: there the reason alone tells it.
    """
    service = ServiceName(reporter.namespace, reporter.account)
    listed, mode = policy.of(service), policy.mode(service)
    never = observed.reason in NEVER_PASSED_ON and mode in {Mode.ENFORCE, Mode.QUARANTINE}
    if observed.inbound and (never or "SAN" in observed.reason):
        return str(DenyId(service, listed.revision, Reason.QUARANTINE if never and mode is Mode.QUARANTINE else Reason.NOT_LISTED))
    if not observed.inbound and (never or observed.reason == "cluster_not_found"):
        return str(DenyId(service, listed.egress_revision, Reason.QUARANTINE if mode is Mode.QUARANTINE else Reason.EGRESS))
    return ""


def _inbound_edge(observed: Observed, reporter: WorkloadId, given: Surroundings) -> EdgeKey:
    source = _name_of(observed.peer_id, given.trust_domain) or f"ip:{observed.peer_address}"
    service = given.topology.by_workload.get(reporter)
    port, protocol = observed.port, observed.protocol
    if service is not None:
        declared = service.port(port) or next((p for p in service.ports if p.target == port), None)
        if declared is not None:
            port = declared.number
            protocol = _protocol(declared.protocol, protocol)
    return EdgeKey(source, str(reporter), port, protocol, observed.method)


@lru_cache(maxsize=20_000)  # the same peers call all day
def _name_of(peer_id: str, trust_domain: str) -> str:
    """The workload that a SPIFFE ID of this mesh names; empty for anything else."""
    try:
        return str(parse_uri(peer_id, trust_domain)) if peer_id else ""
    except SpiffeError:
        return ""


def _outbound_edge(observed: Observed, reporter: WorkloadId, topology: Topology) -> tuple[EdgeKey, bool]:
    """The edge, and whether its use may be learned from here: what reaches a meshed service is its own sidecar's to report."""
    found = topology.resolve_dialled(topology.by_workload.get(reporter), observed.dialled_address, observed.port)
    host = _host_name(observed)
    if found is None and host:
        external = topology.by_host.get(host)
        found = None if external is None else (external, observed.port)
    if found is None:
        destination = ServiceName(EXTERNAL_NAMESPACE, host or observed.dialled_address)
        return EdgeKey(str(reporter), str(destination), observed.port, observed.protocol, observed.method), True
    service, port = found
    declared = service.port(port)
    protocol = _protocol(declared.protocol, observed.protocol) if declared else observed.protocol
    return EdgeKey(str(reporter), str(service.name), port, protocol, observed.method), not service.meshed


def _protocol(declared: str, seen: str) -> str:
    """The declared name (redis, mysql, ...) where the wire shows only bytes; what was seen where nothing was declared."""
    return seen if declared == "auto" else declared


def _host_name(observed: Observed) -> str:
    """The host that was asked for, by SNI or else by authority without its port; empty for an address or no host name."""
    name = observed.server_name
    if not name:
        host, colon, port = observed.host.rpartition(":")
        name = host if colon and port.isdigit() else observed.host
    name = name.lower().rstrip(".")
    return name if _HOST.match(name) and not is_ip_address(name) else ""
