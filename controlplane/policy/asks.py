"""Edges that somebody asked for, whether or not they were ever seen. Values only; asking approves nothing."""

from __future__ import annotations

from dataclasses import dataclass

from controlplane.policy.rules import Rule
from controlplane.topology.model import ServiceName


@dataclass(frozen=True, slots=True)
class Ask:
    """A wish for an edge: who, why, and where it is discussed (such as a pull request). Times are Unix milliseconds.

    ``closed_by`` is who decided, empty while it is open.
    """

    id: int
    service: ServiceName
    rule: Rule
    protocol: str
    actor: str
    reason: str
    link: str
    created_ms: int
    closed_ms: int | None = None
    closed_by: str = ""

    @property
    def wish(self) -> tuple[ServiceName, Rule]:
        """What is asked for: the same wish again is no other one."""
        return self.service, self.rule
