"""What approved rules already hold of learned edges, templates included. Pure; `policy.evaluate` says what a single request may.

A pattern covers another when every path of the other is one of its own. Answers no when in doubt: an edge that is asked for
twice costs a look, one that is taken for approved and is not costs a denial.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping

from controlplane.graph.learn import GraphEdge, rule_of
from controlplane.identity.spiffe import WorkloadId
from controlplane.policy.evaluate import http_matches
from controlplane.policy.rules import AddressSource, HttpMatch, Policy, Rule
from controlplane.topology.model import ServiceName

_PARAMETER = re.compile(r"\{[A-Za-z0-9_]{0,64}\}")
#: Stands for whatever a parameter or a star holds; no pattern names it, only a pattern's own parameters and stars hold it.
_ANYTHING = "\x00"
_MAX_STARS = 4


def covers(allowed: HttpMatch, wanted: HttpMatch) -> bool:
    """Whether all that ``wanted`` lets pass is let pass by ``allowed``."""
    if allowed.method and allowed.method != wanted.method:
        return False
    if not allowed.path or allowed.path == wanted.path:
        return True
    if not wanted.path:
        return False
    if not (wanted.is_prefix or wanted.is_template):
        return http_matches(allowed, wanted.method, wanted.path)
    body = wanted.path
    if wanted.is_prefix:
        if not allowed.is_prefix:
            return False
        # What matches the beginning with nothing behind it matches it with anything behind: the star takes it.
        body = body[:-1]
    expression = re.compile(allowed.path_expression())
    return all(expression.fullmatch(path) for path in _stand_ins(_PARAMETER.sub(_ANYTHING, body)))


def _stand_ins(body: str) -> Iterable[str]:
    """The path with each star as nothing and as something; more stars than are worth it give what nothing covers."""
    if body.count("*") > _MAX_STARS:
        return [_ANYTHING + "?"]
    found = [""]
    for place, part in enumerate(body.split("*")):
        found = [start + star + part for start in found for star in (("", _ANYTHING) if place else ("",))]
    return found


class Approved:
    """The rules of a policy, found by the names of service and source, and by port."""

    def __init__(self, policy: Policy) -> None:
        self._services: dict[str, dict[tuple[str, int], tuple[HttpMatch, ...]]] = {}
        self._networks: dict[tuple[str, int], list[Rule]] = {}
        names: dict[WorkloadId | AddressSource, str] = {}
        for name, listed in policy.services.items():
            service = str(name)
            found = self._services[service] = {}
            for rule in listed.rules:
                source, http = rule.source, rule.http
                written = names.get(source)
                if written is None:
                    written = names[source] = str(source)
                key = (written, rule.port)
                known = found.setdefault(key, http)
                if known is not http:
                    found[key] = (*known, *http) if known and http else ()
                if type(source) is AddressSource:
                    self._networks.setdefault((service, rule.port), []).append(rule)

    def missing(self, edge: GraphEdge) -> tuple[HttpMatch, ...] | None:
        """The methods and paths of an edge that no rule holds: empty when all are held.

        ``None`` when no rule could hold the edge: it names no service, port or source. An edge without methods of which nothing
        is held gives the match of everything.
        """
        service = self._services.get(edge.destination)
        if service is not None and service.get((edge.source, edge.port)) == edge.http:
            return ()
        wanted = rule_of(edge)
        if wanted is None:
            return None
        allowed = self._allowed(*wanted)
        if allowed == ():
            return ()
        return tuple(match for match in edge.http or (HttpMatch(),) if not any(covers(held, match) for held in allowed or ()))

    def unapproved(self, edges: Iterable[GraphEdge]) -> Mapping[GraphEdge, tuple[HttpMatch, ...]]:
        """The edges that are not held, each with what is missing of it."""
        found, services, none = {}, self._services, dict[tuple[str, int], tuple[HttpMatch, ...]]()
        for edge in edges:
            # A graph of a million edges is held against rules that were made of it: most are there just so, and cost no call.
            if services.get(edge.destination, none).get((edge.source, edge.port)) == edge.http:
                continue
            if missing := self.missing(edge):
                found[edge] = missing
        return found

    def holds(self, edge: GraphEdge) -> bool:
        """Whether rules hold everything that an edge does."""
        return self.missing(edge) == ()

    def _allowed(self, service: ServiceName, wanted: Rule) -> tuple[HttpMatch, ...] | None:
        """What a source may do at a port; empty for everything, ``None`` for nothing."""
        if not isinstance(wanted.source, AddressSource):
            return self._services.get(str(service), {}).get((str(wanted.source), wanted.port))
        networks = self._networks.get((str(service), wanted.port), ())
        found = [rule.http for rule in networks if _contains(rule.source, wanted.source)]
        if not found:
            return None
        return () if not all(found) else tuple(match for http in found for match in http)


def _contains(outer: object, inner: AddressSource) -> bool:
    if not isinstance(outer, AddressSource):
        return False
    network, part = ipaddress.ip_network(outer.cidr), ipaddress.ip_network(inner.cidr)
    return network.version == part.version and part[0] in network and part[-1] in network


def unapproved(policy: Policy, edges: Iterable[GraphEdge]) -> Mapping[GraphEdge, tuple[HttpMatch, ...]]:
    """The edges that the rules do not hold, each with what is missing of it."""
    return Approved(policy).unapproved(edges)
