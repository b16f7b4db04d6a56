"""People and programs that may call: an account, its access tokens, and the scope of what each may do. Never knows a secret."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass

from controlplane.policy.roles import Role
from controlplane.policy.rules import EXTERNAL_NAMESPACE

MAX_NAMESPACES = 200
#: No space: a name cannot look like a claim ("alice (via token)").
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_NAMESPACE = re.compile(r"[a-z0-9_.-]{1,253}")
#: Names that the control plane itself acts under.
_RESERVED = frozenset({"picket"})


@dataclass(frozen=True, slots=True)
class Scope:
    """A role, in some namespaces alone or (``None``) in the whole mesh. Everybody reads the whole mesh."""

    role: Role
    namespaces: tuple[str, ...] | None = None

    def covers(self, namespace: str) -> bool:
        """Whether the role holds there."""
        return self.namespaces is None or namespace in self.namespaces

    def within(self, other: Scope) -> Scope:
        """What both allow."""
        role = self.role if other.role.may(self.role) else other.role
        if self.namespaces is None or other.namespaces is None:
            return Scope(role, other.namespaces if self.namespaces is None else self.namespaces)
        return Scope(role, tuple(name for name in self.namespaces if name in other.namespaces))


@dataclass(frozen=True, slots=True)
class Account:
    """A local user. ``password`` is its argon2 hash, empty for one that signs in by tokens alone."""

    name: str
    scope: Scope
    password: str
    created_ms: int
    created_by: str


@dataclass(frozen=True, slots=True)
class AccessToken:
    """An account's token for the API: it may do what both its own scope and its account's allow. ``hash`` is SHA-256 in hex."""

    id: int
    account: str
    label: str
    scope: Scope
    hash: str
    created_ms: int
    created_by: str
    expires_ms: int | None = None
    last_used_ms: int | None = None
    revoked_ms: int | None = None

    def is_good(self, now_ms: int) -> bool:
        """Whether it lets in now."""
        return self.revoked_ms is None and (self.expires_ms is None or now_ms < self.expires_ms)


@dataclass(frozen=True, slots=True)
class Caller:
    """Who proved to be somebody, and what they may do now.

    ``proof`` is what the caller came in by, so that it can be asked again whether that still holds: ``token:ID``,
    ``password:MARK`` or ``oidc:MARK``.
    """

    name: str
    scope: Scope
    proof: str

    @property
    def role(self) -> Role:
        """The role, wherever it holds."""
        return self.scope.role


def check_name(name: str) -> str:
    """Why a text is no account's name; empty when it is one."""
    if _NAME.fullmatch(name) and name not in _RESERVED:
        return ""
    return f"{name[:70]!r} is no user's name: 1 to 64 of a-z, 0-9 and ._@-, and not picket"


def check_namespaces(namespaces: Iterable[str] | None) -> str:
    """Why some texts are no namespaces; empty when they are, or the whole mesh is meant."""
    names = list(namespaces or ())
    if namespaces is not None and not 1 <= len(names) <= MAX_NAMESPACES:
        return f"1 to {MAX_NAMESPACES} namespaces are wanted, or none for the whole mesh"
    wrong = next((name for name in names if not _NAMESPACE.fullmatch(name)), None)
    return "" if wrong is None else f"{wrong[:70]!r} is no namespace"


def answering_namespace(source: str, destination: str) -> str:
    """The namespace whose approver decides on an edge: the destination's; toward a host outside the mesh, the source's.

    Empty where that is an address, for which only a scope over the whole mesh answers.
    """
    namespace, _, _ = destination.partition("/")
    if namespace != EXTERNAL_NAMESPACE:
        return namespace
    namespace, slash, _ = source.partition("/")
    return namespace if slash and ":" not in namespace else ""
