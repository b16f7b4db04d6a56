"""What groups of an identity provider may do here. Knows no provider."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from controlplane.policy.accounts import Scope
from controlplane.policy.roles import Role


@dataclass(frozen=True, slots=True)
class GroupRole:
    """Members of ``group`` have what ``scope`` says."""

    group: str
    scope: Scope


def scope_of(groups: Collection[str], known: Sequence[GroupRole]) -> Scope | None:
    """What a member of these groups may do; ``None`` when no group has a role.

    The highest role counts, in all namespaces where a group has just that: a role is never widened to where only a lower one holds.
    """
    mine = [one.scope for one in known if one.group in groups]
    if not mine:
        return None
    order = list(Role)
    highest = max((scope.role for scope in mine), key=order.index)
    where = [scope.namespaces for scope in mine if scope.role is highest]
    if any(namespaces is None for namespaces in where):
        return Scope(highest)
    return Scope(highest, tuple(sorted({name for namespaces in where for name in namespaces or ()})))
