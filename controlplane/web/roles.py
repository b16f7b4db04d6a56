"""The least role that each form of the console asks for: that of the API's endpoint which does the same. Has no rule of its own."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from controlplane.api import roles
from controlplane.policy.roles import Role

#: The console's endpoint -> the API's. What is not here asks for admin; a test holds it complete.
SAME_AS: Mapping[str, str] = MappingProxyType(
    {
        "review.decide": "proposals.approve",
        "review.comment": "proposals.comment",
        "revisions.go_back": "policy.rollback",
        "rollouts.go_back": "rollouts.roll_back",
        "incidents.assign": "incidents.assign",
        "incidents.close": "incidents.close",
        "incidents.reopen": "incidents.reopen",
        "incidents.note": "incidents.note",
        "acting.propose": "asks.ask",
        "acting.allow": "break-glass.begin",
        "leases.renew": "leases.renew",
        "enforcing.release": "modes.release",
        "users.add": "users.create",
        "users.change": "users.change",
        "users.set_password": "users.password",
        "users.remove": "users.revoke",
        "users.new_token": "access-tokens.create",
        "users.revoke_token": "access-tokens.revoke",
        "enforcing.set_mode": "modes.change",
        "enforcing.roll_out": "rollouts.start",
    }
)
#: Anybody's forms: about the reader's own session, and that which calls the API, where the API asks for the role itself.
OWN = frozenset({"signin.enter", "signin.leave", "settings.own_password", "reference.call"})


def least(endpoint: str) -> Role:
    """The role that a form's endpoint asks for; admin where it has no counterpart in the API."""
    return roles.least(SAME_AS.get(endpoint, ""))
