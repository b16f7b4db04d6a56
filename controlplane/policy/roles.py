"""Roles of people: what each may do at least, in one order. Never knows who has which."""

from __future__ import annotations

import enum


class Role(enum.StrEnum):
    """Each role may do all that the ones before it may."""

    VIEWER = "viewer"  # reads
    DEVELOPER = "developer"  # asks for edges
    RESPONDER = "responder"  # quarantines services
    APPROVER = "approver"  # approves, rejects, rolls back, sets modes
    ADMIN = "admin"  # lets sidecars and people in

    def may(self, least: Role) -> bool:
        """Whether this role is enough where ``least`` is asked for."""
        order = list(Role)
        return order.index(self) >= order.index(least)
