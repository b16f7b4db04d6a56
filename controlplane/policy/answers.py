"""Reads what the API answers (`/policy`, `/map`) from JSON text: the approved policy, who exists, and which edges were used when.

So a check works the same on a live answer and on one that was saved to a file. Pure.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import msgspec

from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.documents import parse_source
from controlplane.policy.rules import AddressSource, HttpMatch, Mode, Policy, Rule, ServicePolicy
from controlplane.topology.model import Kind, Port, Service, ServiceName, Topology, parse_service_name

MAX_BYTES = 256 * 1024 * 1024


class AnswerError(ValueError):
    """A text that is no such answer; the message says why."""


@dataclass(frozen=True, slots=True)
class Use:
    """An edge that was used; ``http`` empty when it has no methods, a path empty when only the method is known."""

    source: WorkloadId | AddressSource
    destination: ServiceName
    port: int
    protocol: str
    http: tuple[HttpMatch, ...]
    count: int
    last_seen_ms: int


@dataclass(frozen=True, slots=True)
class Seen:
    """The map: who exists, each service's mode, the edges that were used, and how many of those could not be read."""

    topology: Topology
    modes: Mapping[ServiceName, Mode]
    uses: tuple[Use, ...]
    unread: int


class _Http(msgspec.Struct):
    method: str = ""
    path: str = ""


class _Rule(msgspec.Struct):
    source: str
    port: int
    http: list[_Http] = []


class _ServiceRules(msgspec.Struct):
    service: str
    rules: list[_Rule]


class _Policy(msgspec.Struct):
    revision: int
    services: list[_ServiceRules]


class _Port(msgspec.Struct):
    port: int
    protocol: str


class _Service(msgspec.Struct):
    service: str
    kind: str
    mode: str
    ports: list[_Port] = []


class _Edge(msgspec.Struct):
    source: str
    destination: str
    port: int
    protocol: str
    count: int
    http: list[_Http] = []
    last_seen_ms: int | None = None


class _Map(msgspec.Struct):
    services: list[_Service]
    edges: list[_Edge]
    edge_count: int


def read_policy(body: bytes, modes: Mapping[ServiceName, Mode] | None = None, default_mode: Mode = Mode.ENFORCE) -> Policy:
    """The policy of an answer of `/policy` or `/policy/revisions/N`, which has no modes.

    Raises:
        AnswerError: another text.
    """
    try:
        answer = msgspec.json.decode(body, type=_Policy)
        services = {}
        for listed in answer.services:
            name = parse_service_name(listed.service)
            rules = tuple(
                Rule(parse_source(rule.source), rule.port, tuple(HttpMatch(h.method, h.path) for h in rule.http))
                for rule in listed.rules
            )
            services[name] = ServicePolicy(name, rules, answer.revision)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise AnswerError(f"not an answer of the API's /policy: {error}") from error
    return Policy(answer.revision, services, dict(modes or {}), default_mode)


def read_map(body: bytes) -> Seen:
    """The answer of `/map`. An edge that no rule could hold is counted, not read.

    Raises:
        AnswerError: another text, or an answer that leaves edges out: what is missing could have been used.
    """
    try:
        answer = msgspec.json.decode(body, type=_Map)
        services = {}
        modes = {}
        for service in answer.services:
            name = parse_service_name(service.service)
            services[name] = Service(name, Kind(service.kind), tuple(Port(p.port, p.protocol, p.port) for p in service.ports))
            modes[name] = Mode(service.mode)
    except (msgspec.DecodeError, UnicodeDecodeError, ValueError) as error:
        raise AnswerError(f"not an answer of the API's /map: {error}") from error
    if answer.edge_count > len(answer.edges):
        raise AnswerError(f"the answer has {len(answer.edges)} of {answer.edge_count} edges; ask with a higher limit")
    uses: list[Use] = []
    unread = 0
    for edge in answer.edges:
        if edge.last_seen_ms:
            use = _use(edge, edge.last_seen_ms)
            if use is None:
                unread += 1
            else:
                uses.append(use)
    return Seen(Topology(services), modes, tuple(uses), unread)


def _use(edge: _Edge, last_seen_ms: int) -> Use | None:
    try:
        source, destination = parse_source(edge.source), parse_service_name(edge.destination)
        http = tuple(HttpMatch(match.method, match.path) for match in edge.http)
    except ValueError:
        return None
    return Use(source, destination, edge.port, edge.protocol, http, edge.count, last_seen_ms)
