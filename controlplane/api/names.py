"""Finds the service or the host that a caller means: by its full name, or by its bare name where only one namespace has it."""

from __future__ import annotations

import difflib
from http import HTTPStatus

from controlplane.api.problems import problem
from controlplane.api.requests import AskBody, GrantBody
from controlplane.policy.documents import parse_source
from controlplane.policy.rules import EXTERNAL_NAMESPACE, AddressSource, HttpMatch, Rule
from controlplane.topology.model import ServiceName, Topology, canonical_address, parse_service_name

_REMEDY = "write namespace/name; the map lists all services"


def note_on_source(topology: Topology, rule: Rule) -> str:
    """What to tell of a source that nobody knows (yet): it may be to come, or misspelt. Empty where there is nothing to tell."""
    source = rule.source
    if isinstance(source, AddressSource) or ServiceName(*source) in topology.services:
        return ""
    near = difflib.get_close_matches(str(source), [str(known) for known in topology.services], 1)
    return f"there is no {source} yet" + (f"; did you mean {near[0]}?" if near else "")


def service_named(topology: Topology, text: str, where: str) -> ServiceName:
    """The service.

    Raises:
        ApiProblemError: there is none of that name, or there are several.
    """
    namespace, slash, name = text.partition("/")
    if slash:
        found = ServiceName(namespace, name)
        if found in topology.services:
            return found
    elif same := _named(topology, text):
        if len(same) == 1:
            return same[0]
        listed = ", ".join(map(str, same[:5]))
        raise problem(HTTPStatus.NOT_FOUND, "ambiguous", f"{text} is in several namespaces: {listed}", where=where, remedy=_REMEDY)
    near = difflib.get_close_matches(text, [str(known) for known in topology.services], 1)
    remedy = f"did you mean {near[0]}?" if near else _REMEDY
    raise problem(HTTPStatus.NOT_FOUND, "missing", f"there is no service {text[:130]}", where=where, remedy=remedy)


def destination_named(topology: Topology, text: str, where: str) -> ServiceName:
    """What an edge leads to: a service, or a host outside the mesh.

    ``external/HOST`` needs no declaration. A host has the name by which flows to it are recorded, so that a rule for it holds
    them.

    Raises:
        ApiProblemError: it is neither.
    """
    namespace, slash, written = text.partition("/")
    named = written if slash else text
    host = canonical_address(named) or named.lower()
    known = ServiceName(namespace, written) in topology.services
    if slash and namespace == EXTERNAL_NAMESPACE and not known:
        if (declared := topology.by_host.get(host)) is not None:
            return declared.name
        try:
            return parse_service_name(f"{EXTERNAL_NAMESPACE}/{host}")
        except ValueError as error:
            remedy = f"write {EXTERNAL_NAMESPACE}/HOST with a host name or an address"
            raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", str(error), where=where, remedy=remedy) from error
    if not slash and not _named(topology, text) and ("." in text or ":" in text):
        detail = f"there is no service {text[:130]}"
        remedy = f"for a host outside the mesh write {EXTERNAL_NAMESPACE}/{host[:130]}"
        raise problem(HTTPStatus.NOT_FOUND, "missing", detail, where=where, remedy=remedy)
    return service_named(topology, text, where)


def end_named(topology: Topology, text: str) -> str:
    """An edge's end as flows write it: a bare name with its namespace, anything else as it is."""
    if not text or "/" in text or ":" in text:
        return text
    same = _named(topology, text)
    return str(same[0]) if len(same) == 1 else f"default/{text}"


def _named(topology: Topology, name: str) -> list[ServiceName]:
    """Services of a bare name; the one in the namespace `default` is meant where there is one."""
    same = [known for known in topology.services if known.name == name]
    return [known for known in same if known.namespace == "default"] or sorted(same)


def rule_named(topology: Topology, body: AskBody | GrantBody) -> Rule:
    """The rule that a body asks for.

    Raises:
        ApiProblemError: no rule can say that.
    """
    try:
        http = tuple(HttpMatch(match.method, match.path) for match in body.http)
        return Rule(parse_source(end_named(topology, body.source)), body.port, http)
    except ValueError as error:
        raise problem(HTTPStatus.UNPROCESSABLE_ENTITY, "invalid", str(error), where="body") from error
