"""Finds the service that a caller means: by its full name, or by its bare name where only one namespace has it."""

from __future__ import annotations

import difflib
from http import HTTPStatus

from controlplane.api.problems import problem
from controlplane.topology.model import ServiceName, Topology

_REMEDY = "write namespace/name; the map lists all services"


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
