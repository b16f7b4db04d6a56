"""Whether an act stays within the namespaces of whoever asks for it. Never knows who that is.

The scope is set for the length of a request, by the one check that each request passes, and asked where acts are decided: no
caller in between can forget to hand it on. Where none is set the control plane acts itself, or somebody with the whole mesh.
"""

from __future__ import annotations

from collections.abc import Iterable
from contextvars import ContextVar, Token

from controlplane.policy.accounts import Scope, answering_namespace
from controlplane.topology.model import ServiceName
from controlplane.workflow.revisions import Refused, Why

_scope: ContextVar[Scope | None] = ContextVar("picket scope", default=None)


def begin(scope: Scope | None) -> Token[Scope | None]:
    """Act within a scope from now on; what to hand to `end`."""
    return _scope.set(scope)


def end(token: Token[Scope | None]) -> None:
    """Act within the scope before."""
    _scope.reset(token)


def outside_edges(edges: Iterable[tuple[str, str]]) -> Refused | None:
    """The refusal of an act on edges (source, destination), where one of them is for others to answer."""
    scope = _scope.get()
    if scope is None or scope.namespaces is None:
        return None
    for source, destination in edges:
        if not scope.covers(answering_namespace(source, destination)):
            return _refused(scope, f"{source} -> {destination}")
    return None


def outside_services(services: Iterable[ServiceName]) -> Refused | None:
    """The refusal of an act on services, where one of them is in another namespace."""
    scope = _scope.get()
    if scope is None:
        return None
    other = next((name for name in services if not scope.covers(name.namespace)), None)
    return None if other is None else _refused(scope, str(other))


def outside_ends(source: str, destination: str) -> Refused | None:
    """The refusal of a wish for an edge, where neither end is in the scope."""
    scope = _scope.get()
    if scope is None or any(scope.covers(end.partition("/")[0]) for end in (source, destination)):
        return None
    return _refused(scope, f"{source} -> {destination}")


def outside_mesh(act: str) -> Refused | None:
    """The refusal of an act on the whole mesh, for whoever has some namespaces alone."""
    scope = _scope.get()
    return None if scope is None or scope.namespaces is None else _refused(scope, act)


def _refused(scope: Scope, what: str) -> Refused:
    return Refused(f"{what} is not yours to decide: you are {scope.role} in {', '.join(scope.namespaces or ())}", Why.FORBIDDEN)
